"""What each vendor documents that it sends: every sample says what it should, or what else it is about."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from services.tracking.intake.connections.domain import Connection, ConnectionStatus
from services.tracking.intake.inbox.domain.deliveries import Origin
from services.tracking.intake.inbox.domain.records import Key, Record
from services.tracking.intake.inbox.translation import records_named, statements_in, translated
from services.tracking.intake.sources.adapter import Fetch, PassedOver, Request, SenderRules, Statement
from services.tracking.intake.sources.canonical import CanonicalActivity, CanonicalDeal
from services.tracking.intake.sources.domain import RecordChange, Source, SourceMapping
from services.tracking.intake.sources.registry import ADAPTERS
from shared.kernel.deals import DealStatus

SAMPLES: Final = Path(__file__).parents[1] / "played/samples"
ASKED: Final = "asked.json"
"""What an API answered, which is no webhook."""
MAPPING: Final = SourceMapping(stages={"Closed Won": DealStatus.WON, "Prospecting": DealStatus.OPEN})
NOW: Final = datetime(2026, 11, 30, tzinfo=UTC)
FXIAOKE_KEY: Final = "O0YjM0EDOygzNykzMzUjLwUTN3MjL5ADN1QjM5gTM0A="
OF_DEALS: Final = (
    "ask deals 1246965",
    "ask deals 1246966",
    "deal 1246967 deleted",
    "ask deals 1246968",
    "deal 1246969 merged",
    "deal 1246970 merged",
    "ask deals 1246999",
)
SAID: Final[dict[str, tuple[str, ...]]] = {
    "hubspot/webhooks_api.json": ("not about deals: contact",),
    "hubspot/event_type.json": ("ask deals 1246965",),
    "hubspot/events.json": (
        "ask deals 1246965",
        "deal 1246965 merged",
        "deal 1246978 merged",
        "ask deals 1246999",
    ),
    "hubspot/deals.json": OF_DEALS,
    "hubspot/objects.json": (*OF_DEALS, "ask deals 1246971", "not about deals: object 0-2"),
    "hubspot/association.json": ("ask deals 64058987777",),
    "hubspot/workflow.json": ("ask deals 7036839888",),
    "salesforce/outbound.xml": ("fields of Opportunity 0060800000AbCdEAAV",),
    "salesforce/outbound_all_fields.xml": ("fields of Opportunity 0065w000023STAmAAO",),
    "salesforce/cdc.json": ("fields of Opportunity 0060800000AbCdEAAV",),
    "salesforce/cdc_created.json": ("fields of Opportunity 006SM0000001Tb3YAE",),
    "salesforce/cdc_bitmaps.json": ("not about deals: Account",),
    "salesforce/cdc_gap.json": ("not about deals: Account",),
    "zoho/watch.json": ("ask Deals 5725767000003000064",),
    "zoho/watch_affected.json": ("ask Deals 5725767000003000010", "ask Deals 5725767000003000020"),
    "zoho/watch_deleted.json": ("deal 5725767000003000064 deleted",),
    "zoho/watch_leads.json": ("not about deals: Leads",),
    "zoho/workflow.json": ("deal 5725767000003000064 won", "ask Deals 5725767000003000064"),
    "fxiaoke/event.json": ("not about deals: AccountObj",),
    "fxiaoke/kept.json": ("ask NewOpportunityObj 5f9cd4e6e4400e0001217faa",),
    "pipedrive/change.json": ("deal 746 won",),
    "pipedrive/activity.json": ("activity 2001",),
    "pipedrive/v1_deal.json": ("deal 9 open",),
    "standard_webhooks/deal.json": ("deal 746 won",),
    "standard_webhooks/batch.json": ("deal 1 open",),
}


def connection(source: Source) -> Connection:
    active = ConnectionStatus.ACTIVE
    return Connection(UUID(int=1), UUID(int=2), source, "CRM", source.value, active, (), MAPPING, 1, NOW, NOW, api="x")


def kept(name: str) -> bytes:
    """The sample as it is stored, which of Fxiaoke is without its encryption."""
    body = (SAMPLES / name).read_bytes()
    request = Request("POST", "https://attain.example", "/hooks/1", "", {}, body)
    return ADAPTERS[source_of(name)].body_to_store(request, SenderRules((FXIAOKE_KEY,), {}))


def source_of(name: str) -> Source:
    return Source(name.partition("/")[0])


def in_words(each: Statement) -> str:
    match each:
        case Fetch():
            return f"ask {each.object_name} {each.external_id}"
        case PassedOver():
            return f"not about deals: {each.what}"
        case RecordChange():
            return f"fields of {each.object_name} {each.external_id}"
        case CanonicalDeal(kind="upserted"):
            return f"deal {each.external_id} {each.status}"
        case CanonicalDeal():
            return f"deal {each.external_id} {each.kind}"
        case CanonicalActivity():
            return f"activity {each.external_id}"
        case _:
            return repr(each)


@pytest.mark.parametrize("name", SAID)
def test_a_documented_webhook_is_translated_or_says_what_else_it_is_about(name: str) -> None:
    told = statements_in(connection(source_of(name)), Origin.WEBHOOK, kept(name), MAPPING)
    assert tuple(dict.fromkeys(map(in_words, told))) == SAID[name]


def test_no_sample_is_left_untried() -> None:
    found = {f"{path.parent.name}/{path.name}" for path in SAMPLES.glob("*/*") if path.is_file() and path.name != ASKED}
    assert found == SAID.keys()


def deal_of(name: str) -> CanonicalDeal:
    held = connection(source_of(name))
    told = statements_in(held, Origin.WEBHOOK, kept(name), MAPPING)
    records: dict[Key, Record] = dict.fromkeys(records_named(held, told), Record())
    translation = translated(held, told, records, MAPPING, NOW)
    assert not translation.problems
    (deal,) = translation.deals
    return deal


def test_an_opportunity_that_a_client_of_the_pubsub_api_decoded_keeps_its_days_and_its_numbers() -> None:
    deal = deal_of("salesforce/cdc_created.json")
    assert (deal.name, deal.amount, deal.status) == ("Acme - 400 Widgets", Decimal(40000), DealStatus.OPEN)
    assert (deal.expected_close_on, deal.owner_external_id) == (date(2022, 5, 31), "005SM000000146PYAQ")
    assert deal.created_at == datetime(2022, 5, 19, 16, 32, 13, tzinfo=UTC)
    assert deal.probability == Decimal(10)


def test_an_outbound_message_with_all_fields_becomes_the_whole_deal_without_its_session() -> None:
    deal = deal_of("salesforce/outbound_all_fields.xml")
    assert (deal.name, deal.amount, deal.status) == ("Backpackers, Inc. (Sample)", Decimal(45000), DealStatus.OPEN)
    assert (deal.channel, deal.account_id) == ("External Referral", "0015w00002BFDeLAAX")
    assert deal.modified_at == datetime(2020, 5, 9, 3, 4, 32, tzinfo=UTC)
    assert b"SessionId" not in kept("salesforce/outbound_all_fields.xml")


@pytest.mark.parametrize("change", [{"amount": "1"}, {"dealname": "Other"}])
def test_a_record_of_a_workflow_is_told_apart_by_what_it_says(change: dict[str, str]) -> None:
    hubspot = ADAPTERS[Source.HUBSPOT]
    body = (SAMPLES / "hubspot/workflow.json").read_bytes()
    changed = body
    for name, value in change.items():
        changed = changed.replace(f'"{name}"'.encode(), f'"{name}_{value}"'.encode())
    first, again, other = (
        hubspot.dedupe_key(Request("POST", "https://attain.example", "/hooks/1", "", {}, each))
        for each in (body, body, changed)
    )
    assert first == again
    assert first != other
