"""What a plan is refused for, all of it at once, before anything is split. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

from services.goals.planning.domain.numbers import amount_problems, weight_problems
from services.goals.planning.domain.plan import (
    CHANGES_MAX,
    NOTE_CHARACTERS_MAX,
    OVER_ASSIGNMENT_MAX,
    STEPS_MAX,
    AlongPeople,
    AlongTime,
    Capacity,
    Edit,
    Lock,
    Note,
    OwnerFacts,
    Plan,
    PlanRefused,
    Respread,
    Shape,
)
from services.goals.planning.domain.segments import RAMP_MONTHS_MAX
from services.goals.targets.domain import Owner
from shared.kernel.errors import FieldError
from shared.kernel.money import AMOUNT_DECIMALS_MAX
from shared.kernel.periods import Period

_ERRORS_MAX = 50


def check_plan(plan: Plan) -> None:
    """Raises PlanRefused with what is wrong, by JSON pointers into the plan, and what would be accepted."""
    problems = [problem for problem, _ in zip(_problems(plan), range(_ERRORS_MAX), strict=False)]
    if problems:
        detail = "; ".join(f"{problem.pointer}: {problem.message}" for problem in problems)
        raise PlanRefused(detail, fields=problems)


def _problems(plan: Plan) -> Iterator[FieldError]:
    if not 0 <= plan.decimals <= AMOUNT_DECIMALS_MAX:
        yield FieldError("/decimals", f"{plan.decimals} is out of range", f"0 to {AMOUNT_DECIMALS_MAX}")
        return
    yield from amount_problems(plan.target, plan.decimals, "/target")
    if len(plan.steps) > STEPS_MAX:
        yield FieldError("/steps", f"has {len(plan.steps)}", f"at most {STEPS_MAX}")
    for number, step in enumerate(plan.steps):
        if isinstance(step, AlongPeople):
            yield from _people_problems(step, f"/steps/{number}")
            if step.over_assignment and not plan.adds_up:
                message = "is not for rates, which are handed down as they are"
                yield FieldError(f"/steps/{number}/over_assignment", message, "0")
        else:
            yield from _time_problems(step, plan, f"/steps/{number}")
    yield from _days_problems(plan)
    yield from _tree_problems(plan.below)
    for owner, facts in plan.facts.items():
        yield from _facts_problems(facts, f"/facts/{owner.kind}:{owner.id}")
    yield from _change_problems(plan)


def _people_problems(step: AlongPeople, pointer: str) -> Iterator[FieldError]:
    for basis, share in step.blend.items():
        yield from weight_problems(share, f"{pointer}/blend/{basis}")
    if (total := sum(step.blend.values(), Decimal(0))) != 1:
        yield FieldError(f"{pointer}/blend", f"sums to {total}", "shares that sum to 1 exactly")
    yield from weight_problems(step.over_assignment, f"{pointer}/over_assignment")
    if step.over_assignment > OVER_ASSIGNMENT_MAX:
        yield FieldError(
            f"{pointer}/over_assignment", f"{step.over_assignment} is too much", "0.1 for 10 %, 10 at most"
        )
    if step.tolerance is not None:
        yield from weight_problems(step.tolerance, f"{pointer}/tolerance")
        if step.tolerance > 1:
            yield FieldError(f"{pointer}/tolerance", f"{step.tolerance} is too much", "0.05 for 5 %, 1 at most")


def _time_problems(step: AlongTime, plan: Plan, pointer: str) -> Iterator[FieldError]:
    yield from _gaps(step.parts, plan.period, f"{pointer}/parts")
    if (step.shape is Shape.SEASONAL) != bool(step.seasons):
        yield FieldError(
            f"{pointer}/seasons", f"do not go with the shape {step.shape}", "seasons for seasonal, else none"
        )
    elif step.seasons:
        yield from _gaps([season.period for season in step.seasons], plan.period, f"{pointer}/seasons")
        for number, season in enumerate(step.seasons):
            yield from weight_problems(season.index, f"{pointer}/seasons/{number}/index")
    if (step.shape is Shape.CUSTOM) != bool(step.percentages):
        yield FieldError(
            f"{pointer}/percentages", f"do not go with the shape {step.shape}", "percentages for custom, else none"
        )
    elif step.percentages:
        if len(step.percentages) != len(step.parts):
            yield FieldError(f"{pointer}/percentages", f"are {len(step.percentages)}", f"{len(step.parts)}, one a part")
        for number, percentage in enumerate(step.percentages):
            yield from weight_problems(percentage, f"{pointer}/percentages/{number}")
        if (total := sum(step.percentages, Decimal(0))) != 100:
            yield FieldError(f"{pointer}/percentages", f"total {total}", "percentages that total 100 exactly")


def _gaps(parts: Sequence[Period], period: Period, pointer: str) -> Iterator[FieldError]:
    """Parts have to follow one another and cover the period; the first and the last one may reach beyond it."""
    if not parts or parts[0].start > period.start or parts[-1].end < period.end:
        yield FieldError(pointer, "do not cover the period", f"parts from {period.start} up to {period.end}")
    for number, (before, later) in enumerate(pairwise(parts), start=1):
        if before.end != later.start:
            yield FieldError(f"{pointer}/{number}", f"starts on {later.start}", f"a part that starts on {before.end}")


def _days_problems(plan: Plan) -> Iterator[FieldError]:
    counted = {Shape.WORKING_DAYS, Shape.SEASONAL}
    if not plan.working_days and any(isinstance(step, AlongTime) and step.shape in counted for step in plan.steps):
        yield FieldError("/working_days", "are none", "the working days of the period: a step counts them")
    for number, (before, later) in enumerate(pairwise(plan.working_days), start=1):
        if before >= later:
            yield FieldError(f"/working_days/{number}", f"{later} follows {before}", "days in order, each once")


def _tree_problems(below: Mapping[Owner, Sequence[Owner]]) -> Iterator[FieldError]:
    done: set[Owner] = set()
    for owner, parts in below.items():
        if len(set(parts)) != len(parts):
            yield FieldError(f"/below/{owner.kind}:{owner.id}", "names somebody twice", "each once")
        path: dict[Owner, Iterator[Owner]] = {owner: iter(parts)}
        while path:
            last = next(reversed(path))
            following = next(path[last], None)
            if following is None:
                done.add(last)
                del path[last]
            elif following in path:
                yield FieldError(f"/below/{last.kind}:{last.id}", f"{following.id} is above it too", "a tree")
            elif following not in done:
                path[following] = iter(below.get(following, ()))


def _facts_problems(facts: OwnerFacts, pointer: str) -> Iterator[FieldError]:
    for name, amount in (("history", facts.history), ("pipeline", facts.pipeline)):
        if amount is not None:
            yield from amount_problems(amount, AMOUNT_DECIMALS_MAX, f"{pointer}/{name}")
    if facts.potential is not None:
        yield from weight_problems(facts.potential, f"{pointer}/potential")
    if facts.capacity is not None:
        yield from _capacity_problems(facts.capacity, f"{pointer}/capacity")


def _capacity_problems(capacity: Capacity, pointer: str) -> Iterator[FieldError]:
    for name, number in (
        ("fte", capacity.fte),
        ("availability", capacity.availability),
        ("productivity", capacity.productivity),
    ):
        yield from weight_problems(number, f"{pointer}/{name}")
    if capacity.ramp is not None:
        if len(capacity.ramp.shares) > RAMP_MONTHS_MAX:
            yield FieldError(f"{pointer}/ramp/shares", f"are {len(capacity.ramp.shares)}", f"{RAMP_MONTHS_MAX} at most")
        for month, share in enumerate(capacity.ramp.shares):
            yield from weight_problems(share, f"{pointer}/ramp/shares/{month}")
            if share > 1:
                yield FieldError(f"{pointer}/ramp/shares/{month}", f"{share} is more than all", "0 to 1")


def _change_problems(plan: Plan) -> Iterator[FieldError]:
    if len(plan.changes) > CHANGES_MAX:
        yield FieldError("/changes", f"are {len(plan.changes)}", f"at most {CHANGES_MAX}")
    for number, change in enumerate(plan.changes):
        pointer = f"/changes/{number}"
        match change:
            case Edit() | Lock():
                yield from amount_problems(change.target, plan.decimals, f"{pointer}/target")
            case Note():
                if len(change.text) > NOTE_CHARACTERS_MAX:
                    message, accepted = f"has {len(change.text)} characters", f"at most {NOTE_CHARACTERS_MAX}"
                    yield FieldError(f"{pointer}/text", message, accepted)
            case Respread():
                if not plan.adds_up:
                    yield FieldError(pointer, "rates have no rest to spread", "another change")
                for node_id, amount in change.reached.items():
                    yield from amount_problems(amount, plan.decimals, f"{pointer}/reached/{node_id}")
