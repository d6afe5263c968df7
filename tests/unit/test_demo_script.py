"""The demo's script holds every kind of trouble, and its expectation is what a person works out by hand."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from deploy.local.demo.company import CRM_STAGES, EMPLOYEES, SELLERS
from deploy.local.demo.expectation import expected
from deploy.local.demo.script import INTERIM_CRM_USER, Act, Channel, Delivery, UserMapped, scripted_stream

FIRST_DAY, END = date(2026, 10, 1), date(2027, 1, 1)
NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def acts() -> list[Act]:
    return scripted_stream(FIRST_DAY, NOW)


def deliveries(acts: list[Act], channel: Channel) -> list[Delivery]:
    return [act for act in acts if isinstance(act, Delivery) and act.channel is channel]


def crm(external_id: str, *, at: str, stage: str = "Closed Won", amount: str = "1000", **other: object) -> Delivery:
    data = {
        "external_id": external_id,
        "modified_at": at,
        "stage": stage,
        "owner_external_id": "u-ines.carvalho",
        "amount": amount,
        "currency": "EUR",
        "closed_on": "2026-10-05" if CRM_STAGES[stage] == "won" else None,
        "splits": [],
        **other,
    }
    return Delivery(Channel.CRM, f"msg_{external_id}_{at}", json.dumps({"type": "deal.upserted", "data": data}))


def test_the_script_is_the_same_every_time(acts: list[Act]) -> None:
    assert scripted_stream(FIRST_DAY, NOW) == acts


def test_it_is_a_few_hundred_deliveries_to_both_connections(acts: list[Act]) -> None:
    counts = Counter(act.channel for act in acts if isinstance(act, Delivery))
    assert counts[Channel.CRM] > 100
    assert counts[Channel.PIPEDRIVE] > 100
    assert counts.total() < 500


def test_one_delivery_is_forged_and_one_says_an_amount_that_is_no_number(acts: list[Act]) -> None:
    sent = deliveries(acts, Channel.CRM)
    assert [act.forged for act in sent].count(True) == 1
    amounts = [json.loads(act.body)["data"]["amount"] for act in sent]
    assert [amount for amount in amounts if "," in amount] == ["48.200,00 €"]


def test_duplicates_come_after_their_original_and_are_the_same_bytes(acts: list[Act]) -> None:
    first: dict[str, Delivery] = {}
    repeated = 0
    for act in acts:
        if isinstance(act, Delivery):
            original = first.setdefault(act.id, act)
            repeated += original is not act
            assert act.body == original.body
    assert repeated >= 10


def test_some_deals_are_told_out_of_order(acts: list[Act]) -> None:
    newest: dict[str, str] = {}
    late = set()
    for act in deliveries(acts, Channel.CRM):
        data = json.loads(act.body)["data"]
        if data["modified_at"] < newest.get(data["external_id"], ""):
            late.add(act.id)
        newest[data["external_id"]] = max(data["modified_at"], newest.get(data["external_id"], ""))
    assert len(late) >= 2


def test_pipedrive_tells_a_merge_as_a_deletion_and_a_change(acts: list[Act]) -> None:
    metas = [json.loads(act.body)["meta"] for act in deliveries(acts, Channel.PIPEDRIVE)]
    (gone,) = [meta for meta in metas if "merged_to_id" in meta]
    (kept,) = [meta for meta in metas if "merged_from_id" in meta]
    assert gone["action"] == "delete"
    assert kept["action"] == "change"
    assert (gone["merged_to_id"], kept["merged_from_id"]) == (int(kept["entity_id"]), int(gone["entity_id"]))


def test_a_deal_is_deleted_one_reopened_and_one_given_to_another_seller(acts: list[Act]) -> None:
    owners: dict[str, set[str]] = {}
    deleted = 0
    for act in deliveries(acts, Channel.CRM):
        document = json.loads(act.body)
        deleted += document["type"] == "deal.deleted"
        owners.setdefault(document["data"]["external_id"], set()).add(document["data"]["owner_external_id"])
    assert deleted == 1
    assert sum(len(names) > 1 for names in owners.values()) == 1
    documents = [json.loads(act.body) for act in deliveries(acts, Channel.PIPEDRIVE)]
    previous = [(document["previous"] or {}).get("status") for document in documents]
    reopened = [
        was
        for was, document in zip(previous, documents, strict=True)
        if was == "won" and document["data"] and document["data"]["status"] == "open"
    ]
    assert len(reopened) == 1


def test_every_owner_is_someone_known_or_the_one_who_becomes_known(acts: list[Act]) -> None:
    known = {employee.crm_user for employee in EMPLOYEES} | {INTERIM_CRM_USER}
    assert {json.loads(act.body)["data"]["owner_external_id"] for act in deliveries(acts, Channel.CRM)} <= known
    assert [act.source_user for act in acts if isinstance(act, UserMapped)] == [INTERIM_CRM_USER]


@pytest.mark.parametrize("now", [datetime(2026, 10, 1, 0, 30, tzinfo=UTC), datetime(2026, 12, 31, 22, 0, tzinfo=UTC)])
def test_on_the_first_and_last_day_of_a_quarter_nothing_falls_out_of_it(now: datetime, acts: list[Act]) -> None:
    there = expected(scripted_stream(FIRST_DAY, now), FIRST_DAY, END)
    assert there.bookings == expected(acts, FIRST_DAY, END).bookings


def test_the_order_in_which_states_arrive_does_not_matter(acts: list[Act]) -> None:
    assert expected(list(reversed(acts)), FIRST_DAY, END) == expected(acts, FIRST_DAY, END)


def test_every_seller_sells_and_some_reach_their_target(acts: list[Act]) -> None:
    numbers = expected(acts, FIRST_DAY, END)
    shares = [numbers.bookings[seller.key] / (seller.bookings_target or 1) for seller in SELLERS]
    assert min(shares) > Decimal("0.5")
    assert any(share >= 1 for share in shares)
    assert any(share < 1 for share in shares)


def test_an_older_state_that_comes_later_changes_nothing() -> None:
    won = crm("K-1", at="2026-10-05T10:00:00+00:00")
    older = crm("K-1", at="2026-10-04T10:00:00+00:00", stage="Proposal", amount="9")
    numbers = expected([won, older], FIRST_DAY, END)
    assert numbers.bookings == {"ines.carvalho": 1000, "enterprise": 1000, None: 1000}
    assert numbers.deals == {"ines.carvalho": 1, "enterprise": 1, None: 1}


def test_what_is_forged_or_in_another_quarter_or_currency_is_not_booked() -> None:
    at = "2026-10-05T10:00:00+00:00"
    numbers = expected(
        [
            replace(crm("K-1", at=at), forged=True),
            crm("K-2", at=at, closed_on="2026-09-30"),
            crm("K-3", at=at, currency="USD"),
            crm("K-4", at=at, owner_external_id="u-nobody"),
            crm("K-5", at=at, closed_on="2027-01-01"),
        ],
        FIRST_DAY,
        END,
    )
    assert not any(numbers.bookings.values())
    assert numbers.deals[None] == 1


def test_pay_is_the_slices_of_the_tiers_and_a_percent_of_what_was_sold_together() -> None:
    splits = [
        {"owner_external_id": "u-ines.carvalho", "percent": "70"},
        {"owner_external_id": "u-jonas.weber", "percent": "30"},
    ]
    deal = crm("K-1", at="2026-10-05T10:00:00+00:00", amount="500000.50", splits=splits)
    earned = expected([deal], FIRST_DAY, END).earned
    bookings = Decimal("9600") + Decimal("14400") + Decimal("1800.05")  # 240,000 at 4 %, as much at 6 %, rest at 9 %
    assert earned["ines.carvalho"] == bookings + Decimal("3500.00")
    assert earned["jonas.weber"] == Decimal("1500.00")
    assert earned["aiko.tanaka"] == 0
