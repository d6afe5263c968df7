"""Rounded shares against what they add up to, in plain whole numbers."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.tracking.intake.sources.rounding import rounded, whole_shares

ROLES = st.sampled_from(["owner", "overlay", "engineer"])
SHARES = st.decimals(min_value=0, max_value=100, places=12)
DIVIDED = st.integers(1, 60).map(lambda parts: Decimal(str(100 / parts)))


def half_even(value: Fraction) -> int:
    return round(value)


@given(shares=st.lists(st.tuples(ROLES, SHARES | DIVIDED), min_size=1, max_size=12))
def test_rounded_shares_add_up_to_what_they_did_in_all_and_of_each_role(shares: list[tuple[str, Decimal]]) -> None:
    kept = whole_shares(shares)
    million = 1_000_000
    for (_, share), whole in zip(shares, kept, strict=True):
        assert (whole * million) % 1 == 0
        assert 0 <= whole <= 100
        assert abs(Fraction(whole) - Fraction(share)) * million < 2
    if all(share < 100 for _, share in shares):
        total = sum((Fraction(share) for _, share in shares), Fraction(0))
        assert sum(kept) * million == half_even(total * million)
        for role in {role for role, _ in shares}:
            told = sum((Fraction(share) for other, share in shares if other == role), Fraction(0))
            stays = sum((whole for (other, _), whole in zip(shares, kept, strict=True) if other == role), Decimal(0))
            assert abs(Fraction(stays) - told) * million < 1


@given(amount=st.decimals(allow_nan=True, allow_infinity=True) | st.text(max_size=12) | st.integers())
def test_any_amount_is_kept_refused_later_or_rounded_by_less_than_a_unit(amount: object) -> None:
    fields, corrections = rounded({"amount": amount})
    if corrections:
        (correction,) = corrections
        kept = fields["amount"]
        assert isinstance(kept, Decimal)
        exponent = kept.as_tuple().exponent
        assert isinstance(exponent, int)
        assert exponent >= -6
        assert abs(Fraction(kept) - Fraction(Decimal(str(amount)))) <= Fraction(1, 2_000_000)
        assert Decimal(correction.kept) == kept
    else:
        assert fields["amount"] is amount or Decimal(str(fields["amount"])) == Decimal(str(amount))
