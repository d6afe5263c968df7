"""What of a delivery is shown to who sees one of its records: that record's members and nothing of others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from pydantic import JsonValue

from services.tracking.intake.inbox.disclosure import members_of
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.sources.domain import Source, SourceMapping
from shared.kernel.deals import DealStatus
from tests.played.connections import connection_of

SAMPLES: Final = Path(__file__).parents[1] / "played/samples"
NOW: Final = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
MINE: Final = {
    Source.PIPEDRIVE: "746",
    Source.ZOHO: "5725767000003000064",
    Source.FXIAOKE: "650c09e8dc044f0001973eab",
    Source.SALESFORCE: "0060800000AbCdEAAV",
    Source.HUBSPOT: "1246965",
}
STRANGERS: Final = {
    Source.PIPEDRIVE: "90125",
    Source.ZOHO: "5725767000003090125",
    Source.FXIAOKE: "650c09e8dc044f0009090125",
    Source.SALESFORCE: "0060800000ZzZzZAAV",
    Source.HUBSPOT: "9090125",
}


MAPPING: Final = SourceMapping(stages={"5": DealStatus.WON, "Closed Won": DealStatus.WON})


def shown(source: Source, body: object, external_id: str, origin: Origin = Origin.WEBHOOK) -> JsonValue:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return members_of(connection_of(source, mapping=MAPPING), origin, sent, external_id)


def deal(external_id: str, **fields: object) -> dict[str, object]:
    return {"external_id": external_id, "modified_at": "2026-03-31T18:40:02Z", "status": "open", **fields}


@pytest.mark.parametrize("source", MINE, ids=lambda source: source.value)
def test_of_records_that_were_fetched_together_only_the_one_is_shown(source: Source) -> None:
    mine, stranger = MINE[source], STRANGERS[source]
    document = json.loads((SAMPLES / source.value / "asked.json").read_text())
    own = next(each for each in document["records"] if each["external_id"] == mine)
    other = json.loads(json.dumps(own).replace(mine, stranger))
    document["records"] = [other, own, other]
    document["gone"] = [{**document["gone"][0], "external_id": stranger}]
    members = shown(source, document, mine, Origin.BACKFILLED)
    assert members == {**document, "records": [own], "gone": []}
    assert stranger not in json.dumps(members)


def test_of_a_batch_only_the_one_deal_is_shown_with_all_that_lies_in_it() -> None:
    own = deal("D-1", splits=[{"owner_external_id": "ann", "percent": "40", "role": "owner"}])
    batch = {"type": "deals.batch", "deals": [deal("D-2", name="Their secret"), own, deal("D-3", name="D-1")]}
    assert shown(Source.STANDARD_WEBHOOKS, batch, "D-1") == {"type": "deals.batch", "deals": [own]}


def test_a_delivery_of_one_record_is_shown_whole() -> None:
    body = {"type": "deal.upserted", "data": deal("D-1", custom={"region": "EMEA"})}
    assert shown(Source.STANDARD_WEBHOOKS, body, "D-1") == body


def test_the_events_of_one_object_are_shown_without_those_of_others() -> None:
    event = {
        "subscriptionType": "deal.propertyChange",
        "portalId": 33,
        "occurredAt": 1712345678901,
        "propertyName": "dealstage",
        "propertyValue": "closedwon",
    }
    mine = [{**event, "objectId": 1246965, "eventId": number} for number in (1, 2)]
    body = [mine[0], {**event, "objectId": 777, "eventId": 3}, mine[1], {**event, "objectId": 888, "eventId": 1246965}]
    assert shown(Source.HUBSPOT, body, "1246965") == mine


def test_of_a_body_that_is_no_json_the_fields_of_the_record_are_shown() -> None:
    outbound = (SAMPLES / "salesforce/outbound.xml").read_bytes()
    members = shown(Source.SALESFORCE, outbound, MINE[Source.SALESFORCE])
    assert isinstance(members, dict)
    assert members["Amount"] == "60000.0"
    assert shown(Source.SALESFORCE, outbound, STRANGERS[Source.SALESFORCE]) is None


@pytest.mark.parametrize(
    "body",
    [
        {"type": "deal.upserted", "data": deal("D-2")},
        {"type": "deals.batch", "deals": [deal("D-2"), deal("D-3", name="D-1")]},
        {"type": "unheard.of", "data": {"D-1": deal("D-1"), "D-2": deal("D-2")}},
        {},
        [],
        "D-1",
    ],
)
def test_what_cannot_be_told_apart_from_others_is_not_shown(body: JsonValue) -> None:
    assert shown(Source.STANDARD_WEBHOOKS, body, "D-1") is None
