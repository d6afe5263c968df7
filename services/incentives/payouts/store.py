"""Every statement on payout runs and adjustments."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import RowMapping, insert, select, text

from services.incentives.payouts.domain.adjustments import (
    Adjustment,
    AdjustmentNotFound,
    AdjustmentStatus,
)
from services.incentives.payouts.domain.pay import Advance, Held, LineKind, PayLine, PayState
from services.incentives.payouts.domain.runs import (
    Anomaly,
    PaidOut,
    Payout,
    PayoutRun,
    PayoutRunNotFound,
    RunChange,
    RunStatus,
    ToNobody,
    UncreditedDeal,
)
from services.incentives.payouts.tables import (
    adjustments,
    payout_run_changes,
    payout_runs,
    payouts,
    uncredited_deals,
)
from shared.db.conditions import among, equal
from shared.db.database import Transaction
from shared.db.decisions import decision_in, decision_values
from shared.db.versioned import VersionedTable
from shared.kernel.approvals import Actor, ActorKind
from shared.kernel.money import format_amount
from shared.kernel.periods import Period

_EARLIER_MAX: Final = 6
_NEWEST: Final = text(
    f"""
    SELECT DISTINCT ON (p.person_id, p.plan_id) p.*
    FROM {payouts.fullname} AS p JOIN {payout_runs.fullname} AS r ON r.tenant_id = p.tenant_id AND r.id = p.run_id
    WHERE p.tenant_id = :tenant_id AND r.reverses IS NULL AND r.status IN ('approved', 'exported', 'paid')
        AND r.number < :before
    ORDER BY p.person_id, p.plan_id, r.number DESC
    """
)
_EARLIER: Final = text(
    f"""
    SELECT person_id, plan_id, paid FROM (
        SELECT p.person_id, p.plan_id, p.paid,
            row_number() OVER (PARTITION BY p.person_id, p.plan_id ORDER BY r.number DESC) AS age
        FROM {payouts.fullname} AS p JOIN {payout_runs.fullname} AS r ON r.tenant_id = p.tenant_id AND r.id = p.run_id
        WHERE p.tenant_id = :tenant_id AND r.reverses IS NULL AND r.status IN ('approved', 'exported', 'paid')
            AND r.number < :before
    ) AS paid
    WHERE age <= {_EARLIER_MAX} ORDER BY person_id, plan_id, age
    """
)
_PAID_OUT: Final = text(
    f"""
    SELECT p.*, r.number, r.status, r.period_start, r.period_end, o.number AS reversed_number,
        (
            SELECT min(c.at) FROM {payout_run_changes.fullname} AS c
            WHERE c.tenant_id = r.tenant_id AND c.run_id = r.id AND c.status = 'paid'
        ) AS paid_at
    FROM {payout_runs.fullname} AS r
    JOIN {payouts.fullname} AS p ON p.tenant_id = r.tenant_id AND p.run_id = r.id
    LEFT JOIN {payout_runs.fullname} AS o ON o.tenant_id = r.tenant_id AND o.id = r.reverses
    WHERE r.tenant_id = :tenant_id AND r.status IN ('approved', 'exported', 'paid', 'reversed')
        AND r.period_start >= :start AND r.period_end <= :end
        AND (CAST(:people AS uuid[]) IS NULL OR p.person_id = ANY(CAST(:people AS uuid[])))
    ORDER BY p.person_id, r.number, p.plan_id
    """
)
_ADD: Final = text(
    f"""
    INSERT INTO {payouts.fullname}
        (tenant_id, id, run_id, person_id, plan_id, currency, paid, earned, lines, state, owed_before, anomalies)
    SELECT :tenant_id, id, run_id, person_id, plan_id, currency, paid, earned, lines, state, owed_before,
        ARRAY(SELECT jsonb_array_elements_text(anomalies))
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS t (
        id uuid, run_id uuid, person_id uuid, plan_id uuid, currency text, paid numeric, earned numeric, lines jsonb,
        state jsonb, owed_before numeric, anomalies jsonb
    )
    """
)
_ADD_UNCREDITED: Final = text(
    f"""
    INSERT INTO {uncredited_deals.fullname}
        (tenant_id, run_id, deal_id, plan_id, source, external_id, name, day, amount, currency, reason)
    SELECT :tenant_id, :run_id, * FROM unnest(
        CAST(:deals AS uuid[]), CAST(:plans AS uuid[]), CAST(:sources AS text[]), CAST(:external_ids AS text[]),
        CAST(:names AS text[]), CAST(:days AS date[]), CAST(:amounts AS numeric[]), CAST(:currencies AS text[]),
        CAST(:reasons AS text[])
    )
    """
)


async def runs(tx: Transaction, tenant_id: UUID) -> list[PayoutRun]:
    """All runs of a tenant, by number."""
    return sorted(await RUNS.matching(tx, tenant_id), key=lambda run: run.number)


async def add_change(tx: Transaction, tenant_id: UUID, run_id: UUID, change: RunChange) -> None:
    await tx.execute(
        insert(payout_run_changes).values(
            tenant_id=tenant_id,
            run_id=run_id,
            version=change.version,
            status=change.status.value,
            actor_kind=change.actor.kind.value,
            actor_id=change.actor.person_id,
            at=change.at,
            reason=change.reason,
        )
    )


async def changes(
    tx: Transaction, tenant_id: UUID, run_id: UUID, *, after: int = 0, limit: int | None = None
) -> list[RunChange]:
    """The steps of a run after its version `after`, oldest first."""
    table = payout_run_changes
    statement = select(table).where(table.c.tenant_id == tenant_id, table.c.run_id == run_id, table.c.version > after)
    return [
        RunChange(
            row["version"],
            RunStatus(row["status"]),
            Actor(ActorKind(row["actor_kind"]), row["actor_id"]),
            row["at"],
            row["reason"],
        )
        for row in await tx.rows(statement.order_by(table.c.version).limit(limit))
    ]


async def add_payouts(tx: Transaction, tenant_id: UUID, added: Sequence[Payout], rows: str) -> None:
    """Store what a run pays; `rows` are the payouts as `payout_rows` writes them."""
    if added:
        await tx.execute(_ADD, {"tenant_id": tenant_id, "rows": rows})


async def list_payouts(
    tx: Transaction,
    tenant_id: UUID,
    *,
    run_id: UUID | None,
    people: Collection[UUID] | None,
    anomaly: Anomaly | None = None,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[Payout]:
    """Payouts by id: of a run (None: of all), of some people (None: everyone), with an anomaly."""
    columns = payouts.c
    conditions = [
        columns.tenant_id == tenant_id,
        equal(columns.run_id, run_id),
        among(columns.person_id, None if people is None else frozenset(people)),
    ]
    if anomaly is not None:
        conditions.append(columns.anomalies.contains([anomaly.value]))
    if after is not None:
        conditions.append(columns.id > after)
    statement = select(payouts).where(*conditions).order_by(columns.id).limit(limit)
    return [_payout(row) for row in await tx.rows(statement)]


async def add_uncredited(tx: Transaction, tenant_id: UUID, run_id: UUID, added: Sequence[UncreditedDeal]) -> None:
    """Store what is credited to nobody."""
    if added:
        await tx.execute(
            _ADD_UNCREDITED,
            {
                "tenant_id": tenant_id,
                "run_id": run_id,
                "deals": [each.deal_id for each in added],
                "plans": [each.plan_id for each in added],
                "sources": [each.source for each in added],
                "external_ids": [each.external_id for each in added],
                "names": [each.name for each in added],
                "days": [each.day for each in added],
                "amounts": [each.amount for each in added],
                "currencies": [each.currency for each in added],
                "reasons": [each.reason for each in added],
            },
        )


async def uncredited(
    tx: Transaction, tenant_id: UUID, run_id: UUID, *, after: UUID | None, limit: int
) -> list[UncreditedDeal]:
    """What was credited to nobody when a run was calculated, by deal."""
    table = uncredited_deals
    statement = select(table).where(table.c.tenant_id == tenant_id, table.c.run_id == run_id)
    if after is not None:
        statement = statement.where(table.c.deal_id > after)
    return [
        UncreditedDeal(**{name: value for name, value in row.items() if name not in ("tenant_id", "run_id")})
        for row in await tx.rows(statement.order_by(table.c.deal_id).limit(limit))
    ]


async def paid_out(
    tx: Transaction, tenant_id: UUID, people: Collection[UUID] | None, start: date, end: date
) -> list[PaidOut]:
    """What approved runs for pay periods within the days paid some people (None: everyone), by person and run.

    Runs that were reversed are among them, and their reversals.
    """
    rows = await tx.rows(
        _PAID_OUT,
        {
            "tenant_id": tenant_id,
            "people": None if people is None else sorted(people),
            "start": start,
            "end": end,
        },
    )
    return [
        PaidOut(
            _payout(row),
            row["number"],
            RunStatus(row["status"]),
            Period(row["period_start"], row["period_end"]),
            row["paid_at"],
            row["reversed_number"],
        )
        for row in rows
    ]


async def newest(tx: Transaction, tenant_id: UUID, before: int) -> dict[tuple[UUID, UUID], Payout]:
    """The last payout of each person and plan in a run that counts, of a lower number."""
    rows = await tx.rows(_NEWEST, {"tenant_id": tenant_id, "before": before})
    return {(row["person_id"], row["plan_id"]): _payout(row) for row in rows}


async def earlier(tx: Transaction, tenant_id: UUID, before: int) -> dict[tuple[UUID, UUID], list[Decimal]]:
    """What each person was paid by each plan in the last runs that count, the newest first."""
    found: dict[tuple[UUID, UUID], list[Decimal]] = {}
    for row in await tx.rows(_EARLIER, {"tenant_id": tenant_id, "before": before}):
        found.setdefault((row["person_id"], row["plan_id"]), []).append(row["paid"])
    return found


async def list_adjustments(
    tx: Transaction,
    tenant_id: UUID,
    *,
    people: frozenset[UUID] | None,
    status: AdjustmentStatus | None,
    after: UUID | None,
    limit: int,
) -> list[Adjustment]:
    """Those of some people (None: everyone), the oldest first."""
    columns = adjustments.c
    return await ADJUSTMENTS.page(
        tx, tenant_id, after, limit, among(columns.person_id, people), equal(columns.status, status)
    )


def payout_row(payout: Payout) -> dict[str, JsonValue]:
    """A payout as it is stored."""
    return {
        "id": str(payout.id),
        "run_id": str(payout.run_id),
        "person_id": str(payout.person_id),
        "plan_id": str(payout.plan_id),
        "currency": payout.currency,
        "paid": format_amount(payout.paid),
        "earned": format_amount(payout.earned),
        "lines": [{"kind": line.kind.value, "amount": format_amount(line.amount)} for line in payout.lines],
        "state": _state_json(payout.state),
        "owed_before": format_amount(payout.owed_before),
        "anomalies": [each.value for each in payout.anomalies],
    }


def _state_json(state: PayState) -> dict[str, JsonValue]:
    return {
        "advances": [{"number": each.number, "amount": format_amount(each.amount)} for each in state.advances],
        "held": [
            {
                "number": each.number,
                "deal_id": None if each.deal_id is None else str(each.deal_id),
                "amount": format_amount(each.amount),
            }
            for each in state.held
        ],
        "excess": format_amount(state.excess),
        "negative": format_amount(state.negative),
        "rounding": format_amount(state.rounding),
        "paid_in_year": format_amount(state.paid_in_year),
    }


def _state(stored: Mapping[str, object]) -> PayState:
    advances, held = stored["advances"], stored["held"]
    assert isinstance(advances, list)
    assert isinstance(held, list)
    return PayState(
        tuple(Advance(each["number"], Decimal(each["amount"])) for each in advances),
        tuple(
            Held(
                each["number"],
                None if each["deal_id"] is None else UUID(each["deal_id"]),
                Decimal(each["amount"]),
            )
            for each in held
        ),
        *(Decimal(str(stored[name])) for name in ("excess", "negative", "rounding", "paid_in_year")),
    )


def _payout(row: RowMapping) -> Payout:
    return Payout(
        id=row["id"],
        run_id=row["run_id"],
        person_id=row["person_id"],
        plan_id=row["plan_id"],
        currency=row["currency"],
        paid=row["paid"],
        earned=row["earned"],
        lines=tuple(PayLine(LineKind(line["kind"]), Decimal(line["amount"])) for line in row["lines"]),
        state=_state(row["state"]),
        owed_before=row["owed_before"],
        anomalies=tuple(Anomaly(each) for each in row["anomalies"]),
    )


def _run(row: RowMapping) -> PayoutRun:
    to_nobody = None
    if row["to_nobody"] is not None:
        to_nobody = tuple(
            ToNobody(each["currency"], Decimal(each["amount"]), each["deals"], Decimal(each["credited"]))
            for each in row["to_nobody"]
        )
    return PayoutRun(
        id=row["id"],
        version=row["version"],
        number=row["number"],
        pay_period_id=row["pay_period_id"],
        period=Period(row["period_start"], row["period_end"]),
        status=RunStatus(row["status"]),
        totals={currency: Decimal(amount) for currency, amount in row["totals"].items()},
        payouts=row["payouts"],
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        calculated_at=row["calculated_at"],
        reverses=row["reverses"],
        to_nobody=to_nobody,
    )


def _values(run: PayoutRun) -> dict[str, object]:
    return {
        "id": run.id,
        "version": run.version,
        "number": run.number,
        "pay_period_id": run.pay_period_id,
        "period_start": run.period.start,
        "period_end": run.period.end,
        "status": run.status.value,
        "totals": {currency: format_amount(amount) for currency, amount in run.totals.items()},
        "payouts": run.payouts,
        "author_kind": run.author.kind.value,
        "author_id": run.author.person_id,
        "calculated_at": run.calculated_at,
        "reverses": run.reverses,
        "to_nobody": None
        if run.to_nobody is None
        else [
            {
                "currency": each.currency,
                "amount": format_amount(each.amount),
                "deals": each.deals,
                "credited": format_amount(each.credited),
            }
            for each in run.to_nobody
        ],
    }


def _adjustment(row: RowMapping) -> Adjustment:
    return Adjustment(
        id=row["id"],
        version=row["version"],
        person_id=row["person_id"],
        plan_id=row["plan_id"],
        currency=row["currency"],
        amount=row["amount"],
        reason=row["reason"],
        author=Actor(ActorKind(row["author_kind"]), row["author_id"]),
        proposed_at=row["proposed_at"],
        status=AdjustmentStatus(row["status"]),
        decision=decision_in(row),
    )


def _adjustment_values(adjustment: Adjustment) -> dict[str, object]:
    return {
        "id": adjustment.id,
        "version": adjustment.version,
        "person_id": adjustment.person_id,
        "plan_id": adjustment.plan_id,
        "currency": adjustment.currency,
        "amount": adjustment.amount,
        "reason": adjustment.reason,
        "author_kind": adjustment.author.kind.value,
        "author_id": adjustment.author.person_id,
        "proposed_at": adjustment.proposed_at,
        "status": adjustment.status.value,
        **decision_values(adjustment.decision),
    }


ADJUSTMENTS: Final = VersionedTable("adjustment", adjustments, _adjustment, _adjustment_values, AdjustmentNotFound)
RUNS: Final = VersionedTable("payout run", payout_runs, _run, _values, PayoutRunNotFound)
