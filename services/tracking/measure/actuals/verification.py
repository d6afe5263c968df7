"""Do the months of people stand where the deals say? Counted anew from the newest versions, for `attain verify`."""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from services.tracking.measure.actuals import service, store
from services.tracking.measure.actuals.domain import BEGINNING, ActualsKey, Sums
from shared.db.database import Transaction
from shared.kernel.difference import Difference
from shared.kernel.money import format_amount
from shared.kernel.org import OrgChart

_NOTHING: Final = Sums()


async def people(tx: Transaction, tenant_id: UUID, chart: OrgChart) -> list[UUID]:
    """Everybody who is a user of a CRM, or of whom something is stored."""
    return sorted({*chart.identities.values(), *await store.people(tx, tenant_id)})


async def of_people(
    tx: Transaction, tenant_id: UUID, chart: OrgChart, person_ids: Sequence[UUID], compared: Counter[str]
) -> list[Difference]:
    """The months of these people that are not what their deals add up to; `compared` counts what was looked at.

    One that still waits to be counted anew is a difference that passes.
    """
    counting = await service.counted(tx, tenant_id, chart, person_ids, since=BEGINNING)
    expected = {key: sums for key, sums in counting.net().items() if key.person_id in set(person_ids)}
    stored = {
        ActualsKey(state.person_id, state.month): state for state in await store.states_of(tx, tenant_id, person_ids)
    }
    waiting = await store.outdated(tx, tenant_id, person_ids)
    found: list[Difference] = []
    keys = sorted(expected.keys() | stored.keys())
    for key in keys:
        state, sums = stored.get(key), expected.get(key, _NOTHING)
        currency = counting.currency(key.month)
        # What there is none of is worth nothing in whatever currency.
        if state is not None and state.sums == sums and (sums.is_nil() or state.currency == currency):
            continue
        if state is None and sums.is_nil():
            continue
        is_passing = key.month >= waiting.get(key.person_id, key.month.max)
        described = "nothing" if state is None else _described(state.sums, state.currency)
        found.append(
            Difference(
                "actuals",
                tenant_id,
                f"person/{key.person_id} in {key.month:%Y-%m}",
                described + (", waiting to be counted anew" if is_passing else ""),
                _described(sums, currency),
                is_passing=is_passing,
            )
        )
    if keys:
        compared["month in actuals"] += len(keys)
    return found


def _described(sums: Sums, currency: str | None) -> str:
    won, waiting = format_amount(sums.won_value), format_amount(sums.open_value)
    numbers = [format_amount(number) for number in (sums.won_number, sums.open_number, sums.unconverted)]
    return f"{currency}: {won} won by {numbers[0]}, {waiting} open in {numbers[1]}, {numbers[2]} unconverted"
