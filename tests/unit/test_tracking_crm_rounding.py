"""Numbers with more decimals than are kept: rounded half to even, and told in the version."""

import json
from decimal import Decimal

import pytest

from services.tracking.intake.sources.canonical import CanonicalDeal
from services.tracking.intake.sources.domain import Source, SourceMapping, Untranslatable
from services.tracking.intake.sources.registry import ADAPTERS
from services.tracking.intake.sources.rounding import CORRECTIONS_MAX

NO_MAPPING = SourceMapping()


def deal_of(source: Source, body: object) -> CanonicalDeal:
    (deal,) = (
        each
        for each in ADAPTERS[source].translate(json.dumps(body).encode(), NO_MAPPING)
        if isinstance(each, CanonicalDeal)
    )
    return deal


def told(**members: object) -> CanonicalDeal:
    data = {"external_id": "A", "modified_at": "2026-01-01T00:00:00Z", "status": "won", **members}
    return deal_of(Source.STANDARD_WEBHOOKS, {"type": "deal.upserted", "data": data})


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        ("1171.450000000000045", "1171.45"),
        ("33.333333333333336", "33.333333"),
        ("1083.4500000000000454747", "1083.45"),
        ("0.0000005", "0"),
        ("0.0000015", "0.000002"),
        ("0.0000025", "0.000002"),
        ("-0.0000015", "-0.000002"),
        ("1e-300", "0"),
        ("999999999999999.9999994", "999999999999999.999999"),
    ],
)
def test_a_computed_amount_is_rounded_half_even_and_told_in_the_version(stated: str, kept: str) -> None:
    deal = told(amount=stated)
    assert deal.amount == Decimal(kept)
    (correction,) = deal.corrections
    assert (correction.field, correction.kept, correction.reason) == ("/amount", kept, "decimals")
    assert Decimal(correction.stated) == Decimal(stated)


@pytest.mark.parametrize("exact", ["1171.45", "0.000001", "12.50000000000", "5E+3", None])
def test_a_number_that_is_kept_as_it_is_stated_has_no_correction(exact: str | None) -> None:
    deal = told(amount=exact)
    assert (deal.amount, deal.corrections) == (None if exact is None else Decimal(exact), ())


@pytest.mark.parametrize("refused", ["999999999999999.9999999", "1e15", "NaN", "Infinity", "x", True])
def test_what_is_no_number_of_a_size_that_can_be_kept_is_refused_still(refused: object) -> None:
    with pytest.raises(Untranslatable) as problem:
        told(amount=refused)
    assert problem.value.pointer == "/data/amount"


def test_every_number_of_a_deal_is_rounded_where_it_stands() -> None:
    deal = told(
        home_amount="0.0000007",
        probability="66.66666666666667",
        products=[{"sku": "a", "quantity": "0.3333333333", "amount": "10.123456789"}],
        payments=[{"paid_on": "2026-01-02", "amount": "-3.3333333"}],
    )
    assert (deal.home_amount, deal.probability) == (Decimal("0.000001"), Decimal("66.666667"))
    assert [(each.quantity, each.amount) for each in deal.products] == [(Decimal("0.333333"), Decimal("10.123457"))]
    assert [each.amount for each in deal.payments] == [Decimal("-3.333333")]
    assert [each.field for each in deal.corrections] == [
        "/home_amount",
        "/probability",
        "/products/0/quantity",
        "/products/0/amount",
        "/payments/0/amount",
    ]


def test_a_probability_that_was_computed_to_a_little_more_than_certain_is_certain() -> None:
    assert told(probability="100.00000000000001").probability == 100


def test_computed_shares_add_up_to_what_they_did() -> None:
    thirds = [{"owner_external_id": name, "percent": "33.333333333333336"} for name in "abc"]
    deal = told(splits=thirds)
    assert [split.percent for split in deal.splits] == [
        Decimal("33.333334"),
        Decimal("33.333333"),
        Decimal("33.333333"),
    ]
    assert [(each.field, each.kept) for each in deal.corrections] == [
        ("/splits/0/percent", "33.333334"),
        ("/splits/1/percent", "33.333333"),
        ("/splits/2/percent", "33.333333"),
    ]


def test_shares_of_each_role_add_up_to_what_they_did_of_that_role() -> None:
    seventh = "14.285714285714286"
    roles = [
        {"owner_external_id": str(n), "role": "owner" if n < 7 else "overlay", "percent": seventh} for n in range(14)
    ]
    deal = told(splits=roles)
    for role in ("owner", "overlay"):
        assert sum(split.percent for split in deal.splits if split.role == role) == 100


def test_no_more_corrections_are_told_than_a_version_can_carry() -> None:
    lines = [{"sku": str(number), "amount": "0.0000001"} for number in range(200)]
    deal = told(products=lines)
    assert (len(deal.products), len(deal.corrections)) == (200, CORRECTIONS_MAX)


def test_a_sender_cannot_state_corrections() -> None:
    assert told(corrections=[{"field": "/amount", "stated": "1", "kept": "2", "reason": "x"}]).corrections == ()
