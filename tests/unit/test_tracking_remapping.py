"""What of the deals that are held a changed mapping is about."""

import pytest

from services.tracking.intake.sources.domain import SourceMapping
from services.tracking.intake.sources.remapping import NOTHING, Touched, touched
from shared.kernel.deals import DealStatus

BEFORE = SourceMapping(
    stages={"Signed": DealStatus.OPEN, "Won": DealStatus.WON},
    users={"7": "ann", "8": "ben"},
    pipelines={"1": "New", "2": "Old"},
    teams={"1000": "lead"},
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (BEFORE, BEFORE, NOTHING),
        (SourceMapping(), SourceMapping(users={"9": "ann"}), Touched(users=("9",))),
        (BEFORE, SourceMapping(), Touched(("ann", "ben", "lead"), ("Signed", "Won"), ("New", "Old"))),
        (SourceMapping(), SourceMapping(teams={"1000": "lead"}), Touched(users=("team:1000",))),
        (SourceMapping(), SourceMapping(stages={"Signed": DealStatus.WON}), Touched(stages=("Signed",))),
        (SourceMapping(), SourceMapping(pipelines={"1": "New"}), Touched(pipelines=("1",))),
        (SourceMapping(), SourceMapping(currency="EUR"), Touched(incomplete=True)),
        (SourceMapping(), SourceMapping(fields={"owner_external_id": "seller"}), Touched(incomplete=True)),
        (
            SourceMapping(),
            SourceMapping(users={"00508000004abcd": "ann"}),
            Touched(users=("00508000004abcdAAA",)),
        ),
    ],
    ids=["nothing", "a user", "taken back", "a team", "a stage", "a pipeline", "a currency", "a field", "a short id"],
)
def test_a_changed_mapping_is_about_what_is_held_in_the_words_of_the_one_before(
    before: SourceMapping, after: SourceMapping, expected: Touched
) -> None:
    assert touched(before, after) == expected


def test_what_two_mappings_are_about_is_what_either_is() -> None:
    either = Touched(users=("b", "a")) | Touched(users=("a", "c"), stages=("Signed",), incomplete=True)
    assert either == Touched(users=("a", "b", "c"), stages=("Signed",), incomplete=True)
