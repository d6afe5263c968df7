"""Whether a goal is specific, measurable, achievable, relevant and time-bound, with reasons and what would pass."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final, Self
from uuid import UUID

from services.goals.evidence.domain import (
    SAMPLE_MIN,
    Probability,
    ProbabilitySource,
    attainment_probability,
    outcomes,
)
from services.goals.smart.domain.track import Track
from services.goals.targets.domain import (
    CheckFailed,
    CheckIn,
    CheckUnacknowledged,
    GoalTerms,
    GoalTermsRefused,
    check_terms,
)
from shared.kernel.approvals import Actor
from shared.kernel.errors import FieldError, InvalidInput
from shared.kernel.filters import EVERYTHING
from shared.kernel.measures import Aggregate
from shared.kernel.money import format_amount
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar, Period, PeriodKind
from shared.kernel.working_days import WorkingDays, days_of

PROBABLE_MIN: Final = Fraction(1, 5)
PROBABLE_MAX: Final = Fraction(4, 5)
"""A target that is less probable than the one is out of reach, and one that is more probable than the other no aim."""
PEERS_SHOWN_MIN: Final = 3
"""The median of fewer peers would show what one of them reached."""
_CENTS: Final = Decimal("0.01")
_TOLD_BY_ACTUALS: Final = "a goal on won deals, by number or by value, over whole calendar months"
_NO_RECORDS: Final = (Aggregate.CHILDREN, Aggregate.STATED)


class Letter(StrEnum):
    """What is checked of a goal."""

    SPECIFIC = "specific"
    MEASURABLE = "measurable"
    ACHIEVABLE = "achievable"
    RELEVANT = "relevant"
    TIME_BOUND = "time_bound"


class Verdict(StrEnum):
    """A warning may be acknowledged; a goal that fails is not activated."""

    PASSES = "pass"
    WARNS = "warn"
    FAILS = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be with the member of the terms at `pointer`, and what would pass."""

    verdict: Verdict
    pointer: str
    reason: str
    accepted: str

    @property
    def field(self) -> FieldError:
        return FieldError(self.pointer, self.reason, self.accepted)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a check goes by; `start` is the first day of the period it is of, where it is one of several."""

    name: str
    value: Decimal
    start: date | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One letter of a goal: what is wrong, or, where nothing is, why it passes; with the numbers it went by."""

    letter: Letter
    passed: str
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Figure, ...] = ()
    probability: Probability | None = None

    @property
    def verdict(self) -> Verdict:
        if any(finding.verdict is Verdict.FAILS for finding in self.findings):
            return Verdict.FAILS
        return Verdict.WARNS if self.findings else Verdict.PASSES

    @property
    def reason(self) -> str:
        return " ".join(finding.reason for finding in self.findings) or self.passed

    @property
    def accepted(self) -> str | None:
        return "; ".join(finding.accepted for finding in self.findings) or None


@dataclass(frozen=True, slots=True)
class DaysOfPeriod:
    """Which days of a period are worked, and how it lies in the fiscal calendar.

    `is_run` says whether it is a run of weeks or of months; `month` is the one that its first day lies in.
    """

    worked: tuple[date, ...]
    is_run: bool
    month: Period

    @classmethod
    def of(cls, period: Period, calendar: FiscalCalendar, working: WorkingDays) -> Self:
        first, last = (
            [calendar.period_of(day, kind).start for kind in (PeriodKind.WEEK, PeriodKind.MONTH)]
            for day in (period.start, period.end)
        )
        is_run = any(pair == (period.start, period.end) for pair in zip(first, last, strict=True))
        worked = tuple(day for day in days_of(period) if working.on(day).is_worked)
        return cls(worked, is_run, calendar.period_of(period.start, PeriodKind.MONTH))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known today besides a goal's terms.

    `people` are those whose records count as of today, `identified` those of them whom some CRM knows. `full_time` is
    how many people who are there in full those of the period come to. `track` is what the owner and its peers reached
    before, or the reason why that says nothing about this goal.
    """

    today: date
    people: int
    identified: int
    days: DaysOfPeriod
    full_time: Decimal
    track: Track | str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """That checks of a goal warn, and why it may count all the same, as somebody said of one version of its terms.

    A service that activates a goal says nothing, as its approval is elsewhere: then there may be no reason.
    """

    id: UUID
    goal_id: UUID
    goal_version: int
    checks: frozenset[Letter]
    reason: str | None
    actor: Actor
    acknowledged_at: datetime


def checks_of(terms: GoalTerms, known: Known, *, past_is_allowed: bool) -> tuple[Check, ...]:
    """Every check of a goal. A period that is over fails; for whoever brings in what was agreed before it warns."""
    return (
        _specific(terms),
        _measurable(terms, known),
        _achievable(terms, known),
        _relevant(terms),
        _time_bound(terms, known, Verdict.WARNS if past_is_allowed else Verdict.FAILS),
    )


def warned(checks: Collection[Check]) -> frozenset[Letter]:
    """The letters that warn."""
    return frozenset(check.letter for check in checks if check.verdict is Verdict.WARNS)


def check_activation(checks: Sequence[Check], acknowledged: Collection[Letter]) -> None:
    """Raises CheckFailed with everything that fails; CheckUnacknowledged with what warns and is not acknowledged."""
    failed = [check for check in checks if check.verdict is Verdict.FAILS]
    if failed:
        raise CheckFailed(_told(failed), fields=[finding.field for check in failed for finding in check.findings])
    waiting = [check for check in checks if check.verdict is Verdict.WARNS and check.letter not in acknowledged]
    if waiting:
        raise CheckUnacknowledged(
            f"{_told(waiting)} Acknowledge it with a reason, or give one (`?reason=`) with the activation.",
            fields=[finding.field for check in waiting for finding in check.findings],
        )


def check_acknowledgement(checks: Sequence[Check], letters: Sequence[Letter]) -> None:
    """Raises InvalidInput unless each of these checks warns."""
    warning = warned(checks)
    accepted = ", ".join(sorted(warning)) or "none: nothing warns"
    fields = [
        FieldError(f"/checks/{index}", f"{letter} does not warn", accepted)
        for index, letter in enumerate(letters)
        if letter not in warning
    ]
    if fields:
        raise InvalidInput("Only what warns is acknowledged.", fields=fields)


def _told(checks: Sequence[Check]) -> str:
    return " ".join(f"{check.letter}: {check.reason} Would pass: {check.accepted}." for check in checks)


def _specific(terms: GoalTerms) -> Check:
    measure = terms.measure
    findings: tuple[Finding, ...] = ()
    if measure.filter == EVERYTHING and measure.aggregate not in _NO_RECORDS:
        findings = (
            Finding(
                Verdict.WARNS,
                "/metric/filter",
                f"Nothing is filtered: every {measure.record} counts, whatever becomes of it.",
                "a filter, such as status eq won",
            ),
        )
    return Check(
        Letter.SPECIFIC, f"It has a name, a metric, a filter and one {terms.owner.kind} as its owner.", findings
    )


def _measurable(terms: GoalTerms, known: Known) -> Check:
    target = f"From {format_amount(terms.baseline)} to {format_amount(terms.target)} {terms.unit}"
    people = (Figure("people", Decimal(known.people)), Figure("identified_people", Decimal(known.identified)))
    try:
        check_terms(terms)
    except GoalTermsRefused as refused:
        failed = [
            Finding(
                Verdict.FAILS, field.pointer, f"{field.pointer} {field.message}.", field.accepted or "another value"
            )
            for field in refused.fields
        ]
        return Check(Letter.MEASURABLE, target, tuple(failed))
    if terms.measure.aggregate in _NO_RECORDS:
        source = "by its parts" if terms.measure.aggregate is Aggregate.CHILDREN else "by values that are stated of it"
        return Check(Letter.MEASURABLE, f"{target}, measured {source}.")
    if not known.identified:
        is_person = terms.owner.kind is OwnerKind.PERSON
        nobody = "The owner is not" if is_person else f"None of its {known.people} people is"
        finding = Finding(
            Verdict.WARNS,
            "/owner",
            f"{nobody} known by any CRM, so no {terms.measure.record} can count.",
            "an identity of the owner or its people in a CRM that is connected",
        )
        return Check(Letter.MEASURABLE, target, (finding,), people)
    return Check(
        Letter.MEASURABLE, f"{target}; a CRM knows {known.identified} of {known.people} people.", evidence=people
    )


def _achievable(terms: GoalTerms, known: Known) -> Check:
    capacity = (
        Figure("people", Decimal(known.people)),
        Figure("full_time_people", known.full_time),
        Figure("working_days", Decimal(len(known.days.worked))),
    )
    track = known.track
    if isinstance(track, str):
        return Check(Letter.ACHIEVABLE, "", (_untold(track, _TOLD_BY_ACTUALS),), capacity)
    probability = attainment_probability(
        track.numbers, track.peers, terms.target, reached=track.reached, ahead=track.ahead
    )
    evidence = (*_figures(track), *capacity)
    if probability is None:
        known_periods = f"{len(track.history)} of the owner's and {sum(map(len, track.peers))} of its peers' periods"
        reason = f"Too little is known: {known_periods} of this length, with {format_amount(track.open)} open."
        accepted = f"{SAMPLE_MIN} periods of this length of which is known what was won"
        return Check(Letter.ACHIEVABLE, "", (_untold(reason, accepted),), evidence)
    words = _probability_in_words(terms, track, probability)
    finding = _improbable(track, probability, words)
    return Check(Letter.ACHIEVABLE, words, () if finding is None else (finding,), evidence, probability)


def _untold(reason: str, accepted: str) -> Finding:
    return Finding(Verdict.WARNS, "/target", f"How probable it is cannot be told. {reason}", accepted)


def _improbable(track: Track, probability: Probability, words: str) -> Finding | None:
    """What is wrong with a target that is too little or too much to ask; None where it is neither."""
    if probability.source is ProbabilitySource.REACHED:
        return Finding(Verdict.WARNS, "/target", words, f"more than {format_amount(track.reached)}")
    sample = outcomes(track.numbers, track.peers, track.reached, track.ahead)
    if probability.source is ProbabilitySource.ENDED or sample is None:
        return Finding(Verdict.WARNS, "/target", words, f"at most {format_amount(track.reached)}, which was reached")
    share = Fraction(probability.attained_in + 1, probability.sample + 2)
    if PROBABLE_MIN <= share <= PROBABLE_MAX:
        return None
    side = "out of reach" if share < PROBABLE_MIN else "no aim"
    return Finding(Verdict.WARNS, "/target", f"{words} That is {side}.", _probable_targets(sample))


def _probable_targets(sample: Sequence[Fraction]) -> str:
    """The targets that are neither too little nor too much to ask, as far as cents."""
    ordered = sorted(sample, reverse=True)
    attained_min = -(-PROBABLE_MIN * (len(sample) + 2) // 1) - 1
    attained_max = PROBABLE_MAX * (len(sample) + 2) // 1 - 1
    highest = _cents(ordered[attained_min - 1], ROUND_FLOOR)
    above = _cents(ordered[attained_max], ROUND_CEILING)
    if above >= highest:
        return f"none, as all periods came to about {format_amount(highest)}"
    return f"more than {format_amount(above)}, at most {format_amount(highest)}"


def _cents(value: Fraction, rounding: str) -> Decimal:
    return (Decimal(value.numerator) / value.denominator).quantize(_CENTS, rounding=rounding)


def _probability_in_words(terms: GoalTerms, track: Track, probability: Probability) -> str:
    of_target = f"{format_amount(track.reached)} of {format_amount(terms.target)} {terms.unit}"
    if probability.source is ProbabilitySource.REACHED:
        return f"{of_target} is reached already: the probability is 100 %."
    if probability.source is ProbabilitySource.ENDED:
        return f"The period is over with {of_target}: the probability is 0 %."
    own = probability.sample - probability.peer_periods
    peers = f" and {probability.peer_periods} of peers, scaled to the owner's level" if probability.peer_periods else ""
    return (
        f"As {probability.attained_in} of {probability.sample} periods would have attained it ({own} of the owner's own"
        f"{peers}), the probability is {format_amount(probability.value * 100)} %."
    )


def _figures(track: Track) -> Iterator[Figure]:
    yield Figure("reached", track.reached)
    yield Figure("open_pipeline", track.open)
    for period, value in track.history:
        yield Figure("owner_period", value, period.start)
    levels = sorted(sum(periods, Decimal(0)) / len(periods) for periods in track.peers if periods)
    yield Figure("peers", Decimal(len(levels)))
    if len(levels) >= PEERS_SHOWN_MIN:
        middle = len(levels) // 2
        median = levels[middle] if len(levels) % 2 else (levels[middle - 1] + levels[middle]) / 2
        yield Figure("median_of_peers", median.quantize(_CENTS))


def _relevant(terms: GoalTerms) -> Check:
    if terms.parent_id is None:
        finding = Finding(
            Verdict.WARNS,
            "/parent_id",
            "It is a part of no other goal.",
            "a parent_id, or top true where it is meant so",
        )
        return Check(Letter.RELEVANT, "It is meant to be at the top.", () if terms.top else (finding,))
    if not terms.weight:
        finding = Finding(Verdict.WARNS, "/weight", "It weighs nothing in its parent.", "a weight above 0")
        return Check(Letter.RELEVANT, "", (finding,))
    return Check(Letter.RELEVANT, f"It is a part of another goal, with the weight {format_amount(terms.weight)}.")


def _time_bound(terms: GoalTerms, known: Known, past: Verdict) -> Check:
    start, end = terms.period.start, terms.period.end
    findings = []
    if end <= known.today:
        findings.append(
            Finding(
                past, "/period", f"The period was over on {end}, and today is {known.today}.", f"after {known.today}"
            )
        )
    if not known.days.is_run:
        month = known.days.month
        findings.append(
            Finding(
                Verdict.WARNS,
                "/period",
                f"From {start} to {end} is not a run of weeks or of months of the fiscal calendar.",
                f"days on which a month of the calendar begins, such as {month.start} and {month.end}",
            )
        )
    if terms.check_in is CheckIn.NONE:
        findings.append(
            Finding(Verdict.WARNS, "/check_in", "There is no rhythm of check-ins.", "weekly, biweekly or monthly")
        )
    passed = f"From {start} to {end} on the fiscal calendar, with {terms.check_in} check-ins."
    return Check(Letter.TIME_BOUND, passed, tuple(findings))
