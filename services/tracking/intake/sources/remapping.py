"""What of the stored deals a changed mapping is about, so that these can be translated again first. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.tracking.intake.sources.canonical import TEAM_PREFIX, mapped_user
from services.tracking.intake.sources.domain import SourceMapping


@dataclass(frozen=True, slots=True)
class Touched:
    """What the deals state that a changed mapping is about, in the words in which they are stored.

    Everything else may be changed by it too, only later.
    """

    users: tuple[str, ...] = ()
    """Owners, and users on splits."""
    stages: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    incomplete: bool = False
    """Whether won deals are meant that lack an owner, a currency or a close date."""

    def __or__(self, other: "Touched") -> "Touched":
        return Touched(
            users=tuple(sorted({*self.users, *other.users})),
            stages=tuple(sorted({*self.stages, *other.stages})),
            pipelines=tuple(sorted({*self.pipelines, *other.pipelines})),
            incomplete=self.incomplete or other.incomplete,
        )


NOTHING: Final = Touched()


def touched(before: SourceMapping, after: SourceMapping) -> Touched:
    """What is stored under one mapping that another is about."""
    users = {str(mapped_user(user, before)) for user in _changed(before.users, after.users)}
    teams = {before.teams.get(team, f"{TEAM_PREFIX}{team}") for team in _changed(before.teams, after.teams)}
    pipelines = {before.pipelines.get(each, each) for each in _changed(before.pipelines, after.pipelines)}
    return Touched(
        users=tuple(sorted(users | teams)),
        stages=tuple(sorted(_changed(before.stages, after.stages))),
        pipelines=tuple(sorted(pipelines)),
        incomplete=before.currency != after.currency or before.fields != after.fields,
    )


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    return (key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
