"""Requests and answers of scenarios."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, StringConstraints
from pydantic.config import ConfigDict

from services.goals.planning.domain.agreement import CommitmentGap
from services.goals.planning.domain.comparison import Planned
from services.goals.planning.domain.plan import (
    CHANGES_MAX,
    NOTE_CHARACTERS_MAX,
    OVER_ASSIGNMENT_MAX,
    STEPS_MAX,
    AlongPeople,
    Basis,
    Capacity,
    Change,
    Edit,
    Lock,
    Node,
    Note,
    OwnerFacts,
    Remark,
    Respread,
    Shape,
    TakenBy,
    Unlock,
)
from services.goals.planning.domain.scenario import (
    Commitment,
    OverTime,
    Pattern,
    Scenario,
    ScenarioState,
    Slice,
    StatedStep,
    Wish,
)
from services.goals.planning.domain.segments import RAMP_MONTHS_MAX, Ramp
from services.goals.planning.service import SeenNode, SideBySide, Summary
from services.goals.targets.domain import CheckIn, Direction
from services.goals.targets.schemas import MetricBody, OwnerBody, PeriodAnswer, PeriodBody
from shared.contracts.base import AMOUNT_LIMITS, AS_TEXT, NO_FLOAT, Amount, Day, Exact, Instant
from shared.contracts.texts import Line, Prose
from shared.http.audit import ActorAnswer
from shared.http.schemas import body_example, example
from shared.kernel.errors import InvalidInput
from shared.kernel.measures import Aggregate
from shared.kernel.money import currency_minor_units, format_amount
from shared.kernel.periods import DatedRange, FiscalCalendar

OWNERS_MAX: Final = 10_000
BULK_MAX: Final = 1_000
_NODE: Final = "5f0c6a35-9b1e-5c38-a6a8-2f2b9f5f3a01"
_TEAM: Final[JsonValue] = {"kind": "team", "id": "01935a00-0000-7000-8000-000000000021"}
_SCENARIO: Final = "01935a00-0000-7000-8000-000000000061"

Share = Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0), NO_FLOAT, AS_TEXT]


class AlongPeopleBody(BaseModel):
    """One level of the organisation down: each owner's target goes to those right below."""

    model_config = ConfigDict(extra="forbid")

    along: Literal["people"]
    blend: dict[Basis, Share] = Field(
        default={Basis.EQUAL: Decimal(1)},
        description="What decides, with shares that sum to 1: `equal`; `history`, what was won in the same months of "
        "the year before; `capacity`, FTE × ramp × availability × productivity on the days present; `pipeline`, what "
        "is open and expected in the period; `potential`, as stated in `facts`. Rates are handed down as "
        "they are, and the blend decides what each weighs.",
        examples=[{"history": "0.8", "equal": "0.2"}],
    )
    over_assignment: Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0, le=OVER_ASSIGNMENT_MAX), NO_FLOAT, AS_TEXT] = Field(
        default=Decimal(0), description="0.1 hands down 10 % more than the target, on purpose."
    )
    tolerance: Share | None = Field(
        default=None, description="0.05 lets a manager state a number up to 5 % off; null leaves it free."
    )

    def step(self) -> StatedStep:
        return AlongPeople(self.blend, self.over_assignment, self.tolerance)

    @classmethod
    def of(cls, step: AlongPeople) -> Self:
        return cls(
            along="people",
            blend=dict(step.blend),
            over_assignment=step.over_assignment,
            tolerance=step.tolerance,
        )


class AlongTimeBody(BaseModel):
    """Each target is split over the parts of its period, by the fiscal calendar."""

    model_config = ConfigDict(extra="forbid")

    along: Literal["time"]
    into: Slice
    shape: Shape = Field(
        default=Shape.WORKING_DAYS,
        description="`equal`, `days`, `working_days`; `seasonal`: by working days and the index of each month, learned "
        "from up to three years before; `custom`: by `percentages`.",
    )
    percentages: list[Share] = Field(
        default=[], max_length=400, description="With `custom`, one a part of the scenario's period; they total 100."
    )
    follows_capacity: bool = Field(default=False, description="Gives a person less where a ramp or an absence says so.")

    def step(self) -> StatedStep:
        return OverTime(self.into, self.shape, tuple(self.percentages), self.follows_capacity)

    @classmethod
    def of(cls, step: OverTime) -> Self:
        return cls(
            along="time",
            into=step.slice,
            shape=step.shape,
            percentages=list(step.percentages),
            follows_capacity=step.follows_capacity,
        )


StepBody = Annotated[AlongPeopleBody | AlongTimeBody, Field(discriminator="along")]


class RampBody(BaseModel):
    """How far a new hire is expected to be, month by month from a day on."""

    model_config = body_example(start="2026-03-01", shares=["0", "0.25", "0.5", "0.75", "1"])

    start: Day
    shares: list[Annotated[Decimal, AMOUNT_LIMITS, Field(ge=0, le=1), NO_FLOAT, AS_TEXT]] = Field(
        min_length=1, max_length=RAMP_MONTHS_MAX
    )

    @classmethod
    def of(cls, ramp: Ramp) -> Self:
        return cls(start=ramp.start, shares=list(ramp.shares))


class CapacityBody(BaseModel):
    """How much somebody can take on: FTE × availability × productivity × ramp, on the days present."""

    model_config = body_example(fte="0.8", availability="1", productivity="1.1")

    fte: Share = Decimal(1)
    availability: Share = Decimal(1)
    productivity: Share = Decimal(1)
    ramp: RampBody | None = None
    present_from: Day | None = Field(default=None, description="Left out: as the memberships say.")
    present_until: Day | None = Field(default=None, description="First day after.")

    def capacity(self) -> Capacity:
        present = None
        if self.present_from is not None:
            present = DatedRange(self.present_from, self.present_until)
        elif self.present_until is not None:
            raise InvalidInput.field("/present_from", "is missing beside present_until", "the first day present")
        ramp = None if self.ramp is None else Ramp(self.ramp.start, tuple(self.ramp.shares))
        return Capacity(self.fte, self.availability, self.productivity, ramp, present)

    @classmethod
    def of(cls, capacity: Capacity) -> Self:
        present = capacity.present
        return cls(
            fte=capacity.fte,
            availability=capacity.availability,
            productivity=capacity.productivity,
            ramp=None if capacity.ramp is None else RampBody.of(capacity.ramp),
            present_from=None if present is None else present.start,
            present_until=None if present is None else present.end,
        )


class FactsBody(BaseModel):
    """What is stated of an owner; what is left out is as actuals and memberships have it."""

    model_config = body_example(owner={"kind": "person", "id": "01935a00-0000-7000-8000-000000000011"}, potential="3")

    owner: OwnerBody
    history: Amount | None = None
    pipeline: Amount | None = None
    potential: Share | None = None
    capacity: CapacityBody | None = None

    def facts(self) -> OwnerFacts:
        capacity = None if self.capacity is None else self.capacity.capacity()
        return OwnerFacts(self.history, self.pipeline, self.potential, capacity)


class ScenarioBody(BaseModel):
    """A plan to be worked out: a target, and the steps it is split by, in order."""

    model_config = body_example(
        name="2027, base case",
        owner=_TEAM,
        period={"start": "2027-01-01", "end": "2028-01-01"},
        target="12000000",
        metric={
            "aggregate": "sum",
            "value_field": "amount",
            "filter": {"all": [{"field": "status", "op": "eq", "value": "won"}]},
            "currency": "USD",
        },
        steps=[
            {"along": "people", "blend": {"history": "0.8", "equal": "0.2"}},
            {"along": "people", "blend": {"capacity": "1"}, "over_assignment": "0.1", "tolerance": "0.05"},
            {"along": "time", "into": "quarter", "shape": "working_days"},
        ],
    )

    name: Line
    owner: OwnerBody
    period: PeriodBody
    target: Amount
    metric: MetricBody
    unit: Line | None = Field(default=None, description="Left out: the currency, the field, or `deals`.")
    direction: Direction = Direction.HIGHER
    baseline: Amount | None = Field(
        default=None,
        description="What the topmost goal starts from; left out, 0. The others start from it too where targets are "
        "rates, else from as much of it as their target is of the topmost one.",
    )
    check_in: CheckIn = Field(default=CheckIn.NONE, description="How often the owners are to say how it goes.")
    decimals: int | None = Field(
        default=None, ge=0, le=6, description="Of every target. Left out: the currency's, 0 for counts, else 2."
    )
    goal_name: Line = Field(
        default="{owner}, {period}", description="What goals are called; {owner} and {period} are filled in."
    )
    people_on: Day | None = Field(
        default=None, description="The day whose organisation it is; left out, the first day of the period."
    )
    steps: list[StepBody] = Field(min_length=1, max_length=STEPS_MAX)
    facts: list[FactsBody] = Field(default=[], max_length=OWNERS_MAX)

    def pattern(self) -> Pattern:
        """Raises InvalidInput naming what is wrong with the metric."""
        measure = self.metric.measure()
        if measure.aggregate is Aggregate.CHILDREN:
            raise InvalidInput.field(
                "/metric/aggregate", "children is made of other goals, not handed down", "another aggregate"
            )
        baseline = Decimal(0) if self.baseline is None else self.baseline
        if self.direction is Direction.LOWER and baseline <= self.target:
            message = f"{format_amount(baseline)} is not above the target, and lower is better"
            raise InvalidInput.field("/baseline", message, f"more than {format_amount(self.target)}")
        if self.direction is Direction.HIGHER and self.baseline is not None and baseline >= self.target:
            message = f"{format_amount(baseline)} is not below the target, and higher is better"
            raise InvalidInput.field("/baseline", message, f"less than {format_amount(self.target)}")
        usual = "%" if measure.aggregate is Aggregate.RATIO else measure.currency or measure.value_field or "deals"
        if self.unit is None and measure.aggregate is Aggregate.STATED:
            raise InvalidInput.field("/unit", "is missing for stated values", "what they are in")
        return Pattern(self.goal_name, measure, self.unit or usual, self.direction, baseline, self.check_in)

    def wish(self, calendar: FiscalCalendar) -> Wish:
        """Raises InvalidInput for a period that is none and an owner that is stated twice."""
        measure = self.metric.measure()
        if measure.currency is not None:
            usual = currency_minor_units(measure.currency)
        else:
            usual = 0 if measure.aggregate in (Aggregate.COUNT, Aggregate.DISTINCT) else 2
        period = self.period.period(calendar)
        facts = {each.owner.owner(): each.facts() for each in self.facts}
        if len(facts) != len(self.facts):
            raise InvalidInput.field("/facts", "has an owner twice", "each owner once")
        return Wish(
            target=self.target,
            decimals=usual if self.decimals is None else self.decimals,
            owner=self.owner.owner(),
            period=period,
            steps=tuple(step.step() for step in self.steps),
            people_on=self.people_on or period.start,
            facts=facts,
        )


class ScenarioChanges(BaseModel):
    """What is to change of a scenario itself."""

    model_config = body_example(name="2027, cautious")

    name: Line


CHANGE_EXAMPLE: Final[Mapping[str, JsonValue]] = {"kind": "edit", "node_id": _NODE, "target": "525000"}


class EditBody(BaseModel):
    """State the target of a node; what is below follows, except what is stated or locked there."""

    model_config = body_example(kind="edit", node_id=_NODE, target="525000", taken_by="nobody")

    kind: Literal["edit"]
    node_id: UUID
    target: Amount
    taken_by: TakenBy = Field(default=TakenBy.NOBODY, description="Who takes the difference.")

    def change(self) -> Change:
        return Edit(self.node_id, self.target, self.taken_by)


class LockBody(BaseModel):
    """Give a node a target that nothing around it changes."""

    model_config = body_example(kind="lock", node_id=_NODE, target="12000")

    kind: Literal["lock"]
    node_id: UUID
    target: Amount

    def change(self) -> Change:
        return Lock(self.node_id, self.target)


class UnlockBody(BaseModel):
    """Let a node change again with what is around it."""

    model_config = body_example(kind="unlock", node_id=_NODE)

    kind: Literal["unlock"]
    node_id: UUID

    def change(self) -> Change:
        return Unlock(self.node_id)


class NoteBody(BaseModel):
    """Say something about a node; an empty text takes it back."""

    model_config = body_example(kind="note", node_id=_NODE, text="Two key accounts move in May")

    kind: Literal["note"]
    node_id: UUID
    text: Annotated[str, StringConstraints(max_length=NOTE_CHARACTERS_MAX)]

    def change(self) -> Change:
        return Note(self.node_id, self.text)


class RespreadBody(BaseModel):
    """Split what is left of a node's target on a day anew over what lies ahead; what is locked or behind stays."""

    model_config = body_example(kind="respread", node_id=_NODE, day="2027-05-01")

    kind: Literal["respread"]
    node_id: UUID
    day: Day
    reached: dict[UUID, Amount] = Field(
        default={},
        max_length=OWNERS_MAX,
        description="What nodes that are behind or begun have reached. Left out: what actuals say.",
    )

    def change(self) -> Change:
        return Respread(self.node_id, self.day, self.reached)


PlanChangeBody = Annotated[EditBody | LockBody | UnlockBody | NoteBody | RespreadBody, Field(discriminator="kind")]


class PlanChangesBody(BaseModel):
    """Many changes of a plan, made in this order."""

    model_config = body_example(changes=[dict(CHANGE_EXAMPLE)])

    changes: list[PlanChangeBody] = Field(min_length=1, max_length=BULK_MAX)


class CommitmentBody(BaseModel):
    """What somebody says they reach of a node."""

    model_config = body_example(node_id=_NODE, amount="480000", comment="With the second product from June")

    node_id: UUID
    amount: Amount
    comment: Annotated[Prose, StringConstraints(max_length=1000)] | None = None


class CommitmentsBody(BaseModel):
    """What is committed to many nodes."""

    model_config = body_example(commitments=[{"node_id": _NODE, "amount": "480000"}])

    commitments: list[CommitmentBody] = Field(min_length=1, max_length=BULK_MAX)


class RemarkAnswer(BaseModel):
    """What did not decide at a node because nobody below it has any of it."""

    node_id: UUID
    lacking: list[str]
    evenly: bool = Field(description="Nothing else decided either: the target was split equally.")

    @classmethod
    def of(cls, remark: Remark) -> Self:
        return cls(node_id=remark.node_id, lacking=[each.value for each in remark.lacking], evenly=remark.evenly)


class UnappliedAnswer(BaseModel):
    """A change that the tree no longer has the node for."""

    change: int = Field(description="Its place among the changes, from 0.")
    code: str
    detail: str


class ScenarioListedAnswer(BaseModel):
    """A scenario in a list."""

    model_config = example(
        id=_SCENARIO,
        version=3,
        name="2027, base case",
        state="draft",
        owner=_TEAM,
        period={"start": "2027-01-01", "end": "2028-01-01"},
        author={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
        known_at="2026-11-30T09:00:00Z",
        applied_at=None,
        job_id=None,
    )

    id: UUID
    version: int = Field(ge=1, description="Grows with every change; its ETag goes into If-Match.")
    name: str
    state: ScenarioState
    owner: OwnerBody
    period: PeriodAnswer
    author: ActorAnswer
    known_at: Instant = Field(description="The organisation, calendar and actuals of this moment decided.")
    applied_at: Instant | None
    job_id: UUID | None = Field(description="The job that drafts its goals or takes them back.")

    @classmethod
    def listed(cls, scenario: Scenario) -> "ScenarioListedAnswer":
        return ScenarioListedAnswer.model_validate(_listed(scenario))


class ScenarioAnswer(ScenarioListedAnswer):
    """A scenario and what it comes to."""

    model_config = example(
        id=_SCENARIO,
        version=3,
        name="2027, base case",
        state="draft",
        owner=_TEAM,
        period={"start": "2027-01-01", "end": "2028-01-01"},
        author={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000012"},
        known_at="2026-11-30T09:00:00Z",
        applied_at=None,
        job_id=None,
        target="12000000",
        unit="USD",
        decimals=2,
        nodes=1471,
        mismatches=1,
        remarks=[],
        unapplied=[],
        steps=[{"along": "people", "blend": {"equal": "1"}, "over_assignment": "0", "tolerance": None}],
        changes=2,
    )

    target: Amount | None = Field(description="Null for who does not see the topmost owner.")
    unit: str
    decimals: int
    nodes: int = Field(description="How many of its nodes the caller sees.")
    mismatches: int = Field(description="At how many of these what is below does not add up as it should.")
    remarks: list[RemarkAnswer]
    unapplied: list[UnappliedAnswer]
    steps: list[StepBody]
    changes: int = Field(le=CHANGES_MAX, description="How often somebody changed the plan.")

    @classmethod
    def of(cls, summary: Summary) -> Self:
        scenario, tree = summary.scenario, summary.tree
        return cls.model_validate(
            {
                **_listed(scenario),
                "target": scenario.plan.target if summary.sees_top else None,
                "unit": scenario.pattern.unit,
                "decimals": scenario.plan.decimals,
                "nodes": summary.nodes,
                "mismatches": summary.mismatches,
                "remarks": [RemarkAnswer.of(remark) for remark in tree.remarks[:100]],
                "unapplied": [
                    UnappliedAnswer(change=each.change, code=each.reason.code, detail=each.reason.detail)
                    for each in tree.unapplied[:100]
                ],
                "steps": [_step(step) for step in scenario.wish.steps],
                "changes": len(scenario.plan.changes),
            }
        )


class NodeAnswer(BaseModel):
    """One owner's target for one period."""

    model_config = example(
        id=_NODE,
        parent_id=None,
        owner=_TEAM,
        name="Sales",
        period={"start": "2027-01-01", "end": "2028-01-01"},
        target="12000000",
        handed_down="12000000",
        over_assigned="0",
        mismatch="0",
        locked=False,
        stated=False,
        reached=None,
        last_year="10500000",
        change="0.142857",
        probability="0.4286",
        share=None,
        goal_id=None,
        note="",
    )

    id: UUID
    parent_id: UUID | None
    owner: OwnerBody
    name: str = Field(description="Of the owner.")
    period: PeriodAnswer
    target: Exact
    handed_down: Exact = Field(description="What the last split gave it.")
    over_assigned: Exact = Field(description="By how much more was handed down than the target, on purpose.")
    mismatch: Exact = Field(
        description="What those right below add up to, less the target and what is over-assigned; of rates, what they "
        "come to by their shares, less the target."
    )
    locked: bool
    stated: bool = Field(description="Somebody gave it this target.")
    reached: Exact | None = Field(description="What counts instead of its target since a re-spread.")
    last_year: Exact | None = Field(description="What the owner won in the same months of the year before.")
    change: Exact | None = Field(description="Against last year: 0.1 is 10 % more.")
    probability: Exact | None = Field(
        description="That the target is attained, from 0 to 1, by history and peers; null where too little is known."
    )
    share: Exact | None = Field(
        description="How much a rate weighs in what those below one node come to, from 0 to 1; null for what adds up."
    )
    goal_id: UUID | None = Field(
        description="The goal that it has become; null until the scenario is applied, and where the target is 0."
    )
    note: str

    @classmethod
    def of(cls, seen: SeenNode) -> Self:
        node = seen.node
        return cls(
            id=node.id,
            parent_id=node.parent_id,
            owner=OwnerBody.of(node.owner),
            name=seen.name,
            period=PeriodAnswer(start=node.period.start, end=node.period.end),
            target=node.target,
            handed_down=node.handed_down,
            over_assigned=node.over_assigned,
            mismatch=node.mismatch,
            locked=node.locked,
            stated=node.stated,
            reached=node.reached,
            last_year=seen.last_year,
            change=seen.change,
            probability=seen.probability,
            share=node.share,
            goal_id=seen.goal_id,
            note=node.note,
        )


class CommitmentAnswer(BaseModel):
    """What somebody said they reach of a node."""

    model_config = example(
        node_id=_NODE,
        amount="480000",
        comment="With the second product from June",
        author={"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000011"},
        committed_at="2026-11-30T09:00:00Z",
    )

    node_id: UUID
    amount: Amount
    comment: str | None
    author: ActorAnswer
    committed_at: Instant

    @classmethod
    def of(cls, commitment: Commitment) -> Self:
        return cls(
            node_id=commitment.node_id,
            amount=commitment.amount,
            comment=commitment.comment,
            author=ActorAnswer.of(commitment.author),
            committed_at=commitment.committed_at,
        )


class CommitmentsAnswer(BaseModel):
    """What was committed, in the order of the request."""

    model_config = example(
        commitments=[
            {
                "node_id": _NODE,
                "amount": "480000",
                "comment": None,
                "author": {"kind": "person", "person_id": "01935a00-0000-7000-8000-000000000011"},
                "committed_at": "2026-11-30T09:00:00Z",
            }
        ]
    )

    commitments: list[CommitmentAnswer]

    @classmethod
    def of(cls, commitments: Sequence[Commitment]) -> Self:
        return cls(commitments=[CommitmentAnswer.of(commitment) for commitment in commitments])


class GapAnswer(BaseModel):
    """What is committed from below against a target."""

    model_config = example(
        node_id=_NODE, owner=_TEAM, target="500000", committed="480000", outstanding="0", gap="-20000"
    )

    node_id: UUID
    owner: OwnerBody
    target: Exact
    committed: Exact
    outstanding: Exact = Field(description="The targets that nobody at or below the node has committed to yet.")
    gap: Exact = Field(description="committed - target: below 0, less is committed than the plan needs.")

    @classmethod
    def of(cls, node: Node, gap: CommitmentGap) -> Self:
        return cls(
            node_id=gap.node_id,
            owner=OwnerBody.of(node.owner),
            target=gap.target,
            committed=gap.committed,
            outstanding=gap.outstanding,
            gap=gap.gap,
        )


class PlannedAnswer(BaseModel):
    """What a scenario has for an owner and a period."""

    target: Exact
    mismatch: Exact
    change: Exact | None = Field(description="Against last year: 0.1 is 10 % more.")
    probability: Exact | None = Field(
        description="That the target is attained, from 0 to 1, by history and peers; null where too little is known."
    )

    @classmethod
    def of(cls, planned: Planned, probability: Decimal | None) -> Self:
        return cls(target=planned.target, mismatch=planned.mismatch, change=planned.change, probability=probability)


class ComparedAnswer(BaseModel):
    """An owner's targets for a period in several scenarios, in the order they were named in."""

    model_config = example(
        owner=_TEAM,
        name="Sales",
        period={"start": "2027-01-01", "end": "2028-01-01"},
        last_year="10500000",
        planned=[{"target": "12000000", "mismatch": "0", "change": "0.142857", "probability": "0.4286"}, None],
    )

    owner: OwnerBody
    name: str
    period: PeriodAnswer
    last_year: Exact | None
    planned: list[PlannedAnswer | None] = Field(description="Null where a scenario has none.")

    @classmethod
    def of(cls, side_by_side: SideBySide) -> Self:
        row = side_by_side.row
        return cls(
            owner=OwnerBody.of(row.owner),
            name=side_by_side.name,
            period=PeriodAnswer(start=row.period.start, end=row.period.end),
            last_year=row.last_year,
            planned=[
                None if each is None else PlannedAnswer.of(each, probability)
                for each, probability in zip(row.planned, side_by_side.probabilities, strict=True)
            ],
        )


def _step(step: StatedStep) -> AlongPeopleBody | AlongTimeBody:
    return AlongPeopleBody.of(step) if isinstance(step, AlongPeople) else AlongTimeBody.of(step)


def _listed(scenario: Scenario) -> Mapping[str, object]:
    plan = scenario.plan
    return {
        "id": scenario.id,
        "version": scenario.version,
        "name": scenario.name,
        "state": scenario.state,
        "owner": OwnerBody.of(plan.owner),
        "period": PeriodAnswer(start=plan.period.start, end=plan.period.end),
        "author": ActorAnswer.of(scenario.author),
        "known_at": scenario.known_at,
        "applied_at": scenario.applied_at,
        "job_id": scenario.job_id,
    }
