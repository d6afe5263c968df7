"""The use cases of scenarios: stated, changed, compared, committed to, and made goals."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import anyio.to_thread

from services.goals.calendar.service import Calendars
from services.goals.evidence.domain import MonthOfPerson, Probability
from services.goals.jobs.domain import Chunk, Job
from services.goals.jobs.service import Jobs, Work
from services.goals.org.domain import unknown_owner
from services.goals.org.service import Organisation
from services.goals.planning import store
from services.goals.planning.codec import recorded_state
from services.goals.planning.domain.agreement import CommitmentGap, check_tolerance, commitment_gaps
from services.goals.planning.domain.comparison import Compared, compared
from services.goals.planning.domain.decomposition import decomposed, nodes_reaching
from services.goals.planning.domain.numbers import change_ratio
from services.goals.planning.domain.plan import Change, Edit, Node, NodeNotFound, Note, PlanRefused, Respread, Tree
from services.goals.planning.domain.scenario import (
    Commitment,
    Entry,
    EvidenceLacking,
    Pattern,
    Scenario,
    ScenarioNotFound,
    ScenarioState,
    Wish,
    a_year_before,
    months_of,
)
from services.goals.planning.knowing import Knowledge, total
from services.goals.targets.domain import Goal, GoalOutOfReach, Owner, check_may_propose, draft
from services.goals.targets.service import GoalChange, Goals, Verb
from shared.db.database import Transaction
from shared.kernel.approvals import Actor
from shared.kernel.errors import AnyVersionOf, FieldError, InvalidInput, Refusals
from shared.kernel.org import OwnerKind
from shared.kernel.periods import FiscalCalendar, Period
from shared.kernel.sight import Breadth, Sight, Viewer
from shared.outbox.recorded import Recorded
from shared.outbox.trail import Trail

TREES_MAX: Final = 8
"""So many trees are kept by a process; they are worked out again when needed."""
CHUNK: Final = 1_000
ACTIVATED_CHUNK: Final = 200
"""As many as `targets.activation` lets count at once, so that live progress has its turn."""
APPLY: Final = "apply_scenario"
REVERT: Final = "revert_scenario"
ACTIVATE: Final = "activate_scenario"

WishOf = Callable[[FiscalCalendar], Wish]
"""A wish, given the calendar its period may be named by."""


Chances = Callable[[Transaction, UUID, Sequence[Goal]], Awaitable[Mapping[UUID, Probability | None]]]
"""How probable it is that goals, which need not be stored, are attained: handed in where a process is wired."""


class Place(NamedTuple):
    """Which nodes are wanted: those right below one, those of an owner; None narrows nothing down."""

    parent_id: UUID | None = None
    owner_id: UUID | None = None


class StatedRow(NamedTuple):
    """What a row of a table states of a node, and where it is in the table; None leaves the note as it is."""

    pointer: str
    node_id: UUID
    target: Decimal
    note: str | None


class Committed(NamedTuple):
    """What is committed to a node, and where the request has it."""

    pointer: str
    node_id: UUID
    amount: Decimal
    comment: str | None


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node, its place in the tree, the name of its owner, and what the owner reached a year before."""

    position: int
    node: Node
    name: str
    last_year: Decimal | None
    probability: Decimal | None
    """That the target is attained; None where too little is known to tell."""
    goal_id: UUID | None
    """The goal that it has become."""

    @property
    def change(self) -> Decimal | None:
        """Against last year, as a ratio with six decimals."""
        return change_ratio(self.node.target, self.last_year)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A row of a comparison, its place, the owner's name, and how probable each scenario's target is."""

    position: int
    name: str
    row: Compared
    probabilities: tuple[Decimal | None, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A scenario and what its tree comes to, for somebody: `nodes` and `mismatches` count what is in sight."""

    scenario: Scenario
    tree: Tree
    nodes: int
    mismatches: int
    sees_top: bool


class Planning:
    """The scenarios of every tenant."""

    def __init__(
        self,
        goals: Goals,
        organisation: Organisation,
        calendars: Calendars,
        knowledge: Knowledge,
        jobs: Jobs,
        chances: Chances,
        trail: Trail,
    ) -> None:
        self._goals = goals
        self._organisation = organisation
        self._calendars = calendars
        self._knowledge = knowledge
        self._jobs = jobs
        self._chances = chances
        self._scenarios = Recorded(
            "scenario", store.SCENARIOS, lambda tx, scenario: recorded_state(scenario, tx.now), trail
        )
        self._trees: OrderedDict[tuple[UUID, int], Tree] = OrderedDict()

    @property
    def works(self) -> Mapping[str, Work]:
        """What does the jobs of scenarios, by their kinds."""
        return {APPLY: self._apply_chunk, REVERT: self._revert_chunk, ACTIVATE: self._activate_chunk}

    async def create_scenario(
        self,
        tx: Transaction,
        tenant_id: UUID,
        name: str,
        pattern: Pattern,
        wish_of: WishOf,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Summary:
        """A draft. Raises UnknownPerson, UnknownTeam, GoalOutOfReach, EvidenceLacking, PlanRefused, InvalidInput."""
        wish = wish_of(await self._calendars.fiscal_calendar(tx, tenant_id))
        stated = [(f"/facts/{number}/owner/id", owner) for number, owner in enumerate(wish.facts)]
        named = [("/owner/id", wish.owner), *stated]
        known = await self._organisation.known_owners(tx, tenant_id, {(owner.kind, owner.id) for _, owner in named})
        for pointer, owner in named:
            if (owner.kind, owner.id) not in known:
                raise unknown_owner(owner.kind, owner.id, pointer)
        check_may_propose(sight, wish.owner)
        plan = await self._knowledge.plan(tx, tenant_id, wish, pattern.measure)
        scenario = Scenario(
            tx.new_id(), 1, name, ScenarioState.DRAFT, pattern, wish, plan, author=actor, known_at=tx.now
        )
        tree = await _worked_out(scenario)
        await self._scenarios.add(tx, tenant_id, scenario)
        return _summary(scenario, tree, sight)

    async def list_scenarios(
        self,
        tx: Transaction,
        tenant_id: UUID,
        sight: Sight,
        state: ScenarioState | None,
        *,
        after: UUID | None,
        limit: int,
    ) -> list[Scenario]:
        """Those with a target for somebody in sight, the oldest first."""
        return await store.list_scenarios(tx, tenant_id, sight, state, after=after, limit=limit)

    async def get_scenario(self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, sight: Sight) -> Summary:
        """Raises ScenarioNotFound, also for one without anybody in sight."""
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        return _summary(scenario, await self._tree(scenario), sight)

    async def require_seen(self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, sight: Sight) -> None:
        """Raises ScenarioNotFound, also for one without anybody in sight."""
        await self._seen(tx, tenant_id, scenario_id, sight)

    async def list_nodes(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario_id: UUID,
        place: Place,
        sight: Sight,
        *,
        after: int | None,
        limit: int,
    ) -> list[SeenNode]:
        """Those of owners in sight, each after the one above it; `after` is a position. Raises ScenarioNotFound."""
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        tree = await self._tree(scenario)
        found: list[tuple[int, Node]] = []
        for position in range(0 if after is None else after + 1, len(tree.nodes)):
            node = tree.nodes[position]
            if (
                sight.sees_owner(node.owner.id)
                and (place.parent_id is None or node.parent_id == place.parent_id)
                and (place.owner_id is None or node.owner.id == place.owner_id)
            ):
                found.append((position, node))
                if len(found) == limit:
                    break
        nodes = [node for _, node in found]
        before = await self._last_year(tx, tenant_id, scenario, nodes)
        probable = await self._probable(tx, tenant_id, scenario, nodes)
        names = await self._organisation.names(tx, tenant_id)
        return [
            SeenNode(
                position,
                node,
                names[node.owner.id].name,
                before.get((node.owner, node.period)),
                probable.get((node.owner, node.period)),
                scenario.became(node),
            )
            for position, node in found
        ]

    async def change_scenario(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario_id: UUID,
        expected_version: int,
        wanted: Sequence[tuple[str, Change]],
        refusals: Refusals,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Summary:
        """Change a draft's plan, all in their order or nothing; each with where the request has it.

        A manager states numbers in its subtree, within the tolerance of the level. What may be changed, and what was
        reached, is as the plan was before. Raises ScenarioNotFound, VersionMismatch, ScenarioNotInState, PlanRefused,
        and what `refusals` does of GoalOutOfReach, OutsideTolerance, NodeNotFound, NodeLocked, NodeBehind,
        InvalidInput, and EvidenceLacking for a re-spread of what actuals do not have.
        """
        scenario = await self._for_change(tx, tenant_id, scenario_id, expected_version, sight)
        scenario.needs(ScenarioState.DRAFT)
        tree = await self._tree(scenario)
        changes: list[tuple[str, Change]] = []
        for pointer, change in wanted:
            with refusals.at(pointer):
                _check_change(scenario, tree, change, actor, sight)
                if isinstance(change, Respread) and not change.reached:
                    change = await self._with_reached(tx, tenant_id, scenario, tree, change)
                changes.append((pointer, change))
        refusals.check()
        return await self._changed(tx, tenant_id, scenario, changes, refusals, actor, sight)

    async def list_all_nodes(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, sight: Sight
    ) -> list[tuple[Node, str]]:
        """Every node of an owner in sight, with the owner's name, in order. Raises ScenarioNotFound."""
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        tree = await self._tree(scenario)
        names = await self._organisation.names(tx, tenant_id)
        return [(node, names[node.owner.id].name) for node in tree.nodes if sight.sees_owner(node.owner.id)]

    async def state_targets(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario_id: UUID,
        expected_version: int,
        rows: Sequence[StatedRow],
        refusals: Refusals,
        *,
        actor: Actor,
        sight: Sight,
    ) -> Summary:
        """Change the targets and notes that differ from those there are, all at once or none; the others follow.

        Raises what `refusals` does, ScenarioNotFound, VersionMismatch, ScenarioNotInState, PlanRefused.
        """
        scenario = await self._for_change(tx, tenant_id, scenario_id, expected_version, sight)
        scenario.needs(ScenarioState.DRAFT)
        tree = await self._tree(scenario)
        changes: list[tuple[str, Change]] = []
        for row in rows:
            node = tree.by_id.get(row.node_id)
            wanted: list[Change] = []
            if node is None or row.target != node.target:
                wanted.append(Edit(row.node_id, row.target))
            if node is not None and row.note is not None and row.note != node.note:
                wanted.append(Note(row.node_id, row.note))
            for change in wanted:
                with refusals.at(row.pointer):
                    _check_change(scenario, tree, change, actor, sight)
                    changes.append((row.pointer, change))
        refusals.check()
        return await self._changed(tx, tenant_id, scenario, changes, refusals, actor, sight)

    async def rename_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, name: str, sight: Sight
    ) -> Summary:
        """Raises ScenarioNotFound, VersionMismatch, GoalOutOfReach."""
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        return await self._saved(tx, tenant_id, scenario.renamed(name), sight)

    async def refresh_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Summary:
        """Work a draft out again by the organisation, the calendar and the actuals of now; what was changed stays.

        Raises ScenarioNotFound, VersionMismatch, ScenarioNotInState, GoalOutOfReach, EvidenceLacking, PlanRefused.
        """
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        plan = await self._knowledge.plan(tx, tenant_id, scenario.wish, scenario.pattern.measure)
        return await self._saved(tx, tenant_id, scenario.refreshed(plan, tx.now), sight)

    async def copy_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, name: str, *, actor: Actor, sight: Sight
    ) -> Summary:
        """Another draft of the same. Raises ScenarioNotFound, GoalOutOfReach."""
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        check_may_propose(sight, scenario.plan.owner)
        copy = scenario.copied(tx.new_id(), name, actor)
        await self._scenarios.add(tx, tenant_id, copy)
        return _summary(copy, await _worked_out(copy), sight)

    async def archive_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Summary:
        """Raises ScenarioNotFound, VersionMismatch, ScenarioNotInState, GoalOutOfReach."""
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        return await self._saved(tx, tenant_id, scenario.archived(), sight)

    async def commit_to(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario_id: UUID,
        amounts: Sequence[Committed],
        refusals: Refusals,
        *,
        actor: Actor,
        sight: Sight,
    ) -> list[Commitment]:
        """What somebody in sight says they reach of each of some nodes, all or nothing.

        Raises ScenarioNotFound, ScenarioNotInState, and what `refusals` does of NodeNotFound and GoalOutOfReach.
        """
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        scenario.needs(ScenarioState.DRAFT)
        tree = await self._tree(scenario)
        commitments: list[Commitment] = []
        for each in amounts:
            with refusals.at(each.pointer):
                node = tree.by_id.get(each.node_id)
                if node is None or not sight.sees_owner(node.owner.id):
                    raise NodeNotFound(f"The plan has no node {each.node_id}.")
                check_may_propose(sight, node.owner)
                commitments.append(Commitment(each.node_id, each.amount, each.comment, actor, tx.now))
        refusals.check()
        await store.add_commitments(tx, tenant_id, scenario_id, commitments)
        return commitments

    async def gaps(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, sight: Sight, *, after: int | None, limit: int
    ) -> list[tuple[int, Node, CommitmentGap]]:
        """What was committed from below against each target in sight, by position. Raises ScenarioNotFound."""
        scenario = await self._seen(tx, tenant_id, scenario_id, sight)
        tree = await self._tree(scenario)
        stated = await store.commitments(tx, tenant_id, scenario_id)
        amounts = {node_id: each.amount for node_id, each in stated.items()}
        gaps = commitment_gaps(tree.nodes, amounts, adds_up=scenario.plan.adds_up)
        first = 0 if after is None else after + 1
        seen = (
            (position, tree.nodes[position], gaps[position])
            for position in range(first, len(gaps))
            if sight.sees_owner(tree.nodes[position].owner.id)
        )
        return [each for _, each in zip(range(limit), seen, strict=False)]

    async def compare(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario_ids: Sequence[UUID],
        owner_id: UUID | None,
        sight: Sight,
        *,
        after: int | None,
        limit: int,
    ) -> list[SideBySide]:
        """Scenarios side by side, a row an owner and period in sight, with its place. Raises ScenarioNotFound."""
        scenarios = [await self._seen(tx, tenant_id, each, sight) for each in scenario_ids]
        trees = [await self._tree(scenario) for scenario in scenarios]
        seen = [
            [
                node
                for node in tree.nodes
                if sight.sees_owner(node.owner.id) and (owner_id is None or node.owner.id == owner_id)
            ]
            for tree in trees
        ]
        first = 0 if after is None else after + 1
        rows = compared(seen, {})[first : first + limit]
        wanted = {(row.owner, row.period) for row in rows}
        shown = [[node for node in nodes if (node.owner, node.period) in wanted] for nodes in seen]
        before = await self._last_year(tx, tenant_id, scenarios[0], [node for nodes in shown for node in nodes])
        probable = [
            await self._probable(tx, tenant_id, scenario, nodes)
            for scenario, nodes in zip(scenarios, shown, strict=True)
        ]
        names = await self._organisation.names(tx, tenant_id)
        return [
            SideBySide(
                first + number,
                names[row.owner.id].name,
                row,
                tuple(each.get((row.owner, row.period)) for each in probable),
            )
            for number, row in enumerate(compared(shown, before))
        ]

    async def apply_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Job:
        """Draft the goals of every node, as a job. Raises ScenarioNotFound, VersionMismatch, ScenarioNotInState,
        GoalOutOfReach.
        """
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        scenario.needs(ScenarioState.DRAFT)
        tree = await self._tree(scenario)
        job = await self._job(tx, tenant_id, APPLY, scenario, tree, sight)
        await self._scenarios.save(tx, tenant_id, scenario.applying(job.id, tx.now))
        return job

    async def revert_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Job:
        """Cancel the goals it has drafted, as a job; it is a draft again then. Raises as `apply_scenario`, and
        GoalNotDraft where one of them counts already.
        """
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        tree = await self._tree(scenario)
        scenario.needs(ScenarioState.APPLYING, ScenarioState.APPLIED)
        await self._goals.require_none_in_force(tx, tenant_id, [scenario.goal_id(node.id) for node in tree.nodes])
        if scenario.job_id is not None:
            await self._jobs.give_up(tx, tenant_id, scenario.job_id)
        job = await self._job(tx, tenant_id, REVERT, scenario, tree, sight)
        await self._scenarios.save(tx, tenant_id, scenario.reverting(job.id))
        return job

    async def activate_scenario(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Job:
        """Approve the goals it has drafted and let them count, as a job of the transaction's actor.

        Those that the actor may not approve are left out and listed. Raises as `apply_scenario`.
        """
        scenario = await self._for_edit(tx, tenant_id, scenario_id, expected_version, sight)
        scenario.needs(ScenarioState.APPLIED)
        return await self._job(tx, tenant_id, ACTIVATE, scenario, await self._tree(scenario), sight)

    async def _job(
        self, tx: Transaction, tenant_id: UUID, kind: str, scenario: Scenario, tree: Tree, sight: Sight
    ) -> Job:
        """A job on every node, done with what its requester may do."""
        viewer = {"breadth": sight.viewer.breadth.value, "edits": sight.viewer.edits}
        parameters = {"scenario_id": str(scenario.id), **viewer}
        return await self._jobs.request_job(tx, tenant_id, kind, parameters, total=len(tree.nodes))

    async def _sight(self, tx: Transaction, tenant_id: UUID, job: Job) -> Sight:
        """What a job's requester sees today."""
        breadth, edits = Breadth(str(job.parameters["breadth"])), bool(job.parameters["edits"])
        chart = await self._organisation.chart(tx, tenant_id)
        viewer = Viewer(job.requested_by.person_id, breadth, edits=edits)
        return Sight(viewer, chart, chart.calendar.business_date(tx.now))

    async def _apply_chunk(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        scenario, tree, start = await self._at(tx, tenant_id, job)
        nodes = tree.nodes[start : start + CHUNK]
        named = await self._organisation.names(tx, tenant_id)
        names = {node.owner: named[node.owner.id].name for node in nodes}
        drafts = [(f"/nodes/{goal.id}", goal) for goal in scenario.goals_of(nodes, tree.by_id, names)]
        sight = await self._sight(tx, tenant_id, job)
        await self._goals.add_drafts(tx, tenant_id, drafts, Refusals(), sight)
        counts = {"drafted": len(drafts), "without_target": len(nodes) - len(drafts)}
        return await self._chunk(tx, tenant_id, scenario, tree, (start, len(nodes)), counts, ScenarioState.APPLIED)

    async def _revert_chunk(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        scenario, tree, start = await self._at(tx, tenant_id, job)
        nodes = tree.nodes[start : start + CHUNK]
        goal_ids = [scenario.goal_id(node.id) for node in nodes]
        counts = {"cancelled": await self._goals.cancel_drafts(tx, tenant_id, goal_ids)}
        return await self._chunk(tx, tenant_id, scenario, tree, (start, len(nodes)), counts, ScenarioState.DRAFT)

    async def _activate_chunk(self, tx: Transaction, tenant_id: UUID, job: Job) -> Chunk:
        scenario, tree, start = await self._at(tx, tenant_id, job)
        nodes = tree.nodes[start : start + ACTIVATED_CHUNK]
        goal_ids = [scenario.goal_id(node.id) for node in nodes if node.target > 0]
        refusals = Refusals(leaves_out=True)
        activations = [
            GoalChange(f"/goals/{goal_id}", Verb.ACTIVATE, goal_id, AnyVersionOf(None)) for goal_id in goal_ids
        ]
        sight = await self._sight(tx, tenant_id, job)
        activated = await self._goals.change_goals(
            tx, tenant_id, activations, refusals, actor=job.requested_by, sight=sight
        )
        counts = {"activated": len(activated), "refused": len(goal_ids) - len(activated)}
        done = start, len(nodes)
        return await self._chunk(tx, tenant_id, scenario, tree, done, counts, None, refusals.fields)

    async def _at(self, tx: Transaction, tenant_id: UUID, job: Job) -> tuple[Scenario, Tree, int]:
        """The scenario of a job, its tree, and where the job is in it. The tenant is locked."""
        scenario = await store.SCENARIOS.locked(tx, tenant_id, UUID(str(job.parameters["scenario_id"])))
        tree = await self._tree(scenario)
        await tx.lock_tenants_exclusive([tenant_id])
        return scenario, tree, int(job.cursor or 0)

    async def _chunk(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario: Scenario,
        tree: Tree,
        done: tuple[int, int],
        counts: Mapping[str, int],
        state: ScenarioState | None,
        problems: Sequence[FieldError] = (),
    ) -> Chunk:
        """What became of so many nodes from a place on."""
        start, number = done
        end = start + number
        is_last = end == len(tree.nodes)
        if is_last and state is not None:
            await self._scenarios.save(tx, tenant_id, scenario.ended(state))
        return Chunk(number, None if is_last else str(end), counts, problems)

    async def _seen(self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, sight: Sight) -> Scenario:
        return await store.SCENARIOS.get(tx, tenant_id, scenario_id, store.scenario_in(sight))

    async def _for_change(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Scenario:
        scenario = await self._scenarios.for_change(tx, tenant_id, scenario_id, expected_version)
        if sight.owners is not None and sight.owners.isdisjoint(scenario.owner_ids):
            raise ScenarioNotFound(f"There is no scenario {scenario_id}.")
        return scenario

    async def _for_edit(
        self, tx: Transaction, tenant_id: UUID, scenario_id: UUID, expected_version: int, sight: Sight
    ) -> Scenario:
        """One that the viewer has a say in as a whole."""
        scenario = await self._for_change(tx, tenant_id, scenario_id, expected_version, sight)
        check_may_propose(sight, scenario.plan.owner)
        return scenario

    async def _saved(self, tx: Transaction, tenant_id: UUID, scenario: Scenario, sight: Sight) -> Summary:
        tree = await _worked_out(scenario)
        return _summary(await self._scenarios.save(tx, tenant_id, scenario), tree, sight)

    async def _tree(self, scenario: Scenario) -> Tree:
        """The tree of a stored scenario, from those kept if it is there: a stored version has one tree for ever.

        One that is not committed yet is worked out and not kept, since its version may become another one's.
        """
        key = (scenario.id, scenario.version)
        tree = self._trees.get(key)
        if tree is None:
            tree = await _worked_out(scenario)
            self._trees[key] = tree
            while len(self._trees) > TREES_MAX:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(key)
        return tree

    async def _with_reached(
        self, tx: Transaction, tenant_id: UUID, scenario: Scenario, tree: Tree, change: Respread
    ) -> Respread:
        """With what actuals say was reached up to the day; of the month of the day, so far."""
        reaching = nodes_reaching(scenario.plan, tree, change.node_id, change.day)
        reached: dict[UUID, Decimal] = {}
        spans = {node.id: _months_until(node.period, change.day) for node in reaching}
        months = sorted({month for span in spans.values() if span is not None for month in span})
        people = sorted({person for node in reaching for person in _people_of(scenario, node.owner)})
        plan = scenario.plan
        won = await self._knowledge.won(tx, tenant_id, scenario.pattern.measure, plan.period, people, months)
        for node in reaching:
            span = spans[node.id]
            if won is None or span is None:
                message = f"actuals do not say what was reached of {node.period.start} to {node.period.end}"
                raise EvidenceLacking(
                    f"/reached: {message}",
                    fields=[FieldError("/reached", message, "what each node that is behind or begun has reached")],
                )
            keys = [key for person in _people_of(scenario, node.owner) for key in _keys(person, span)]
            reached[node.id] = total([won[key] for key in keys if key in won]) or Decimal(0)
        return Respread(change.node_id, change.day, reached)

    async def _changed(
        self,
        tx: Transaction,
        tenant_id: UUID,
        scenario: Scenario,
        changes: Sequence[tuple[str, Change]],
        refusals: Refusals,
        actor: Actor,
        sight: Sight,
    ) -> Summary:
        """With these changes, each of which the tree has to have the node for.

        Raises PlanRefused, and what `refusals` does of NodeNotFound, NodeLocked, NodeBehind.
        """
        if not changes:
            return _summary(scenario, await self._tree(scenario), sight)
        before = len(scenario.plan.changes)
        later = scenario.with_changes([change for _, change in changes], Entry(actor, tx.now, tx.reason))
        try:
            tree = await _worked_out(later)
        except PlanRefused as refused:
            pointers = {f"/changes/{before + number}": pointer for number, (pointer, _) in enumerate(changes)}
            raise PlanRefused(
                refused.detail, fields=[_where_requested(field, pointers) for field in refused.fields]
            ) from None
        for unapplied in tree.unapplied:
            if unapplied.change >= before:
                with refusals.at(changes[unapplied.change - before][0]):
                    raise unapplied.reason
        refusals.check()
        return _summary(await self._scenarios.save(tx, tenant_id, later), tree, sight)

    async def _probable(
        self, tx: Transaction, tenant_id: UUID, scenario: Scenario, nodes: Sequence[Node]
    ) -> dict[tuple[Owner, Period], Decimal]:
        """How probable it is that each owner attains all of its targets for a period, where that can be told."""
        if not scenario.plan.adds_up:
            return {}
        drafts: dict[tuple[Owner, Period], Goal] = {}
        for node in nodes:
            place = node.owner, node.period
            others = drafts[place].terms.target if place in drafts else Decimal(0)
            if others + node.target > 0:
                drafts[place] = draft(node.id, scenario.terms(node.owner, "", node.period, others + node.target, None))
        chances = await self._chances(tx, tenant_id, list(drafts.values()))
        found = {place: chances[goal.id] for place, goal in drafts.items()}
        return {place: chance.value for place, chance in found.items() if chance is not None}

    async def _last_year(
        self, tx: Transaction, tenant_id: UUID, scenario: Scenario, nodes: Sequence[Node]
    ) -> dict[tuple[Owner, Period], Decimal]:
        """What the owners of these nodes won in the same months of the year before; of whole months only."""
        wanted = {(node.owner, node.period): months_of(node.period) for node in nodes}
        spans = {place: [a_year_before(month) for month in span] for place, span in wanted.items() if span is not None}
        people = {owner: _people_of(scenario, owner) for owner, _ in spans}
        won = await self._knowledge.won(
            tx,
            tenant_id,
            scenario.pattern.measure,
            scenario.plan.period,
            sorted({person for each in people.values() for person in each}),
            sorted({month for span in spans.values() for month in span}),
        )
        if won is None:
            return {}
        found: dict[tuple[Owner, Period], Decimal] = {}
        for (owner, period), span in spans.items():
            values = [won[key] for person in people[owner] for key in _keys(person, span) if key in won]
            if values and (reached := total(values)) is not None:
                found[owner, period] = reached
        return found


async def _worked_out(scenario: Scenario) -> Tree:
    """In a thread: other requests are answered meanwhile. Raises PlanRefused."""
    return await anyio.to_thread.run_sync(decomposed, scenario.plan)


def _where_requested(field: FieldError, pointers: Mapping[str, str]) -> FieldError:
    """What is wrong with a change of the plan, by where the request has the change."""
    _, *steps = field.pointer.split("/")
    pointer = pointers.get("".join(f"/{step}" for step in steps[:2]))
    if pointer is None:
        return field
    return replace(field, pointer=pointer + "".join(f"/{step}" for step in steps[2:]))


def _check_change(scenario: Scenario, tree: Tree, change: Change, actor: Actor, sight: Sight) -> None:
    """Raises NodeNotFound, GoalOutOfReach or OutsideTolerance unless the viewer may change a node so."""
    node = tree.by_id.get(change.node_id)
    if node is None or not sight.sees_owner(node.owner.id):
        raise NodeNotFound(f"The plan has no node {change.node_id}.")
    if isinstance(change, Respread) and not scenario.plan.adds_up:
        raise InvalidInput.field("/kind", "rates have no rest to spread", "edit, lock, unlock or note")
    if sight.viewer.edits:
        return
    check_may_propose(sight, node.owner)
    if not isinstance(change, Edit | Note) or node.owner.id == actor.person_id:
        raise GoalOutOfReach("A manager states numbers and notes of its subtree; the rest is RevOps'.")
    if isinstance(change, Edit):
        check_tolerance(scenario.plan, node, change.target)


def _summary(scenario: Scenario, tree: Tree, sight: Sight) -> Summary:
    seen = [node for node in tree.nodes if sight.sees_owner(node.owner.id)]
    mismatches = sum(node.mismatch != 0 for node in seen)
    return Summary(scenario, tree, len(seen), mismatches, sight.sees_owner(scenario.plan.owner.id))


def _people_of(scenario: Scenario, owner: Owner) -> list[UUID]:
    """The people at and below an owner, by the plan; each once."""
    found: dict[UUID, None] = {}
    pending = [owner]
    while pending:
        each = pending.pop()
        if each.kind is OwnerKind.PERSON:
            found[each.id] = None
        pending.extend(scenario.plan.below.get(each, ()))
    return sorted(found)


def _keys(person_id: UUID, months: Sequence[date]) -> list[MonthOfPerson]:
    return [MonthOfPerson(person_id, month) for month in months]


def _months_until(period: Period, day: date) -> tuple[date, ...] | None:
    """The months of the part of a period that lies before a day, the one under way among them; None if not whole."""
    if period.end <= day:
        return months_of(period)
    return months_of(Period(period.start, _next_month(day))) if period.start < day else ()


def _next_month(day: date) -> date:
    return day if day.day == 1 else date(day.year + day.month // 12, day.month % 12 + 1, 1)
