"""Reasons are sentences that a salesperson understands, with what the record has beside what was expected."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from services.incentives.credits.domain.credit import CreditExclusion
from shared.kernel.activities import ActivityFacts, ActivityStatus, ActivityType
from shared.kernel.deals import DEAL_FIELDS, DateField, DealFacts, DealKind, DealStatus, RecordVersion
from shared.kernel.filters import parse_filter
from shared.kernel.measures import Aggregate, Exclusion, Measure
from shared.kernel.periods import Period
from shared.kernel.reasons import CODES, Circumstances, condition_words, reason_of

ID = UUID(int=1)
NOW = datetime(2026, 3, 5, tzinfo=UTC)
DEAL = DealFacts(
    ID,
    "crm",
    "D-1",
    RecordVersion(NOW, 0, ID),
    DealKind.UPSERTED,
    DealStatus.OPEN,
    owner_external_id="u-17",
    amount=Decimal("100.50"),
    currency="EUR",
    custom={"tier": "gold"},
)
CALL = ActivityFacts(
    ID, "crm", "A-1", RecordVersion(NOW, 0, ID), False, ActivityType.CALL, ActivityStatus.PLANNED, "u-17"
)
BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")


def won(value: str = "won") -> object:
    return {"field": "status", "op": "eq", "value": value}


def failing(filter_json: object) -> Circumstances:
    return Circumstances(facts=DEAL, failing=parse_filter(filter_json, DEAL_FIELDS))


@pytest.mark.parametrize("code", sorted({*Exclusion, *CreditExclusion}))
def test_every_reason_there_is_has_a_sentence_and_what_to_do_in_english_and_chinese(code: str) -> None:
    assert code in CODES
    for about in (
        Circumstances(),
        Circumstances(facts=DEAL, measure=BOOKINGS, day=date(2026, 3, 5)),
        Circumstances(CALL),
    ):
        found = reason_of(code, about)
        assert found.code == code
        for words in (found.sentence, found.remedy):
            assert words.en.endswith(".")
            assert words.zh.endswith("。")
            assert any("\u4e00" <= char <= "\u9fff" for char in words.zh)
            for internal in ("None", "DateField", "Condition(", "<"):
                assert internal not in words.en + words.zh


def test_a_filter_that_is_not_met_says_what_the_deal_has_and_what_counts() -> None:
    found = reason_of("filter_not_met", failing(won()))
    assert found.found == "status: open"
    assert found.expected == ("status is won", "状态为 won")
    assert found.sentence.en == "Only deals count whose status is won; of this one that is not so."
    assert found.sentence.zh == "只计入满足“状态为 won”的商机，该商机不满足。"


def test_a_group_of_conditions_is_said_as_a_person_would_say_it() -> None:
    wanted = {
        "any": [
            {"field": "custom.tier", "op": "in", "value": ["silver", "bronze"]},
            {
                "all": [
                    {"field": "amount", "op": "gte", "value": "500"},
                    {"field": "region", "op": "exists", "value": True},
                ]
            },
        ]
    }
    about = failing(wanted)
    assert about.failing is not None
    assert condition_words(about.failing).en == (
        "custom field tier is one of silver, bronze or amount is at least 500 and region is there"
    )
    assert reason_of("filter_not_met", about).found == "custom.tier: gold; amount: 100.5; region: —"


def test_money_in_another_currency_names_both() -> None:
    about = Circumstances(facts=DEAL, measure=BOOKINGS, day=date(2026, 3, 5))
    assert reason_of("currency_differs", about).sentence.en == "The deal is in EUR, and only deals in USD count."
    missing = reason_of("no_exchange_rate", about)
    assert missing.sentence.en == "There is no exchange rate from EUR to USD for 2026-03-05."
    assert (missing.found, missing.expected) == ("EUR", ("USD", "USD"))


def test_a_role_spelt_in_another_way_names_both_spellings() -> None:
    found = reason_of("other_role", Circumstances(facts=DEAL, roles=("Overlay",), role="overlay"))
    assert (found.found, found.expected) == ("Overlay", ("overlay", "overlay"))
    assert "Overlay" in found.sentence.en
    assert "overlay" in found.sentence.zh


def test_a_user_nobody_has_mapped_is_named_with_the_call_that_mends_it() -> None:
    found = reason_of("split_user_unmapped", Circumstances(facts=DEAL, unknown_users=("u-18", "u-19")))
    assert found.found == "u-18, u-19"
    assert "POST /v1/identities" in found.remedy.en


def test_a_day_outside_the_period_names_both() -> None:
    about = Circumstances(facts=DEAL, day=date(2026, 4, 1), period=Period(date(2026, 1, 1), date(2026, 4, 1)))
    found = reason_of("outside_period", about)
    assert found.found == "2026-04-01"
    assert "2026-01-01 up to, not including, 2026-04-01" in found.sentence.en


def test_terms_that_start_later_say_when() -> None:
    found = reason_of("terms_start_later", Circumstances(facts=DEAL, terms_start=date(2026, 4, 1)))
    assert "start on 2026-04-01" in found.sentence.en
