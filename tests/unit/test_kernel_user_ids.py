"""A user of a source is the same one, however the id is written."""

import pytest

from shared.kernel.ids import salesforce_id, source_user_id, written_user_ids
from shared.kernel.org import CrmUser

SHORT, WHOLE = "00508000004abcd", "00508000004abcdAAA"


def test_an_id_of_salesforce_of_15_characters_is_the_one_of_18() -> None:
    assert salesforce_id("00D24000000abcd") == "00D24000000abcdEAA"
    assert source_user_id(SHORT) == source_user_id(WHOLE) == WHOLE
    assert written_user_ids(SHORT) == written_user_ids(WHOLE) == (WHOLE, SHORT)


@pytest.mark.parametrize(
    "other", ["", "12345678", "FSUID_1", "00D24000000abcd", "005-8000004abcd", "00508000004abcdBBB"]
)
def test_the_id_of_any_other_user_stays_as_it_is(other: str) -> None:
    assert source_user_id(other) == other
    assert written_user_ids(other) == (other,)


def test_an_identity_entered_with_15_characters_owns_the_deals_of_the_user_with_18() -> None:
    assert CrmUser("salesforce", SHORT) == CrmUser("salesforce", WHOLE)
    assert len({CrmUser("salesforce", SHORT), CrmUser("salesforce", WHOLE)}) == 1
