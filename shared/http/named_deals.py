"""The deal that a query is about: named by its id here, or by the id that its source gave it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Depends, Query
from pydantic import StringConstraints

from shared.contracts.texts import NO_NUL, SearchText
from shared.db.database import Transaction
from shared.http.problems import ParameterError
from shared.http.sight import Caller, CurrentCaller
from shared.http.wiring import handed
from shared.kernel.errors import InvalidInput
from shared.kernel.ids import possible_deal_ids
from shared.kernel.records import RecordFacts

_ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=200), NO_NUL]
_Source = Annotated[SearchText, StringConstraints(min_length=1)]
_ONE_OF_TWO = "deal_id, or external_id together with source"


class DealFinder(NamedTuple):
    """What a service knows about deals of sources, of the tenant named."""

    connections: Callable[[Transaction, UUID, str], Awaitable[Collection[UUID]]]
    """The connections whose deals carry a source."""
    deals: Callable[[Transaction, UUID, Collection[UUID]], Awaitable[Mapping[UUID, RecordFacts]]]
    """Those of these deals that are known."""


class InSource(NamedTuple):
    """A deal as its source knows it."""

    source: str
    external_id: str


class NamedDeal:
    """The deal a caller names, if one; whether there is such a deal is looked up once there is a transaction."""

    def __init__(self, name: UUID | InSource | None, finder: DealFinder, caller: Caller) -> None:
        self._name = name
        self._finder = finder
        self._caller = caller

    async def id(self, tx: Transaction) -> UUID | None:
        """The deal's id, also of one that is not known or out of the caller's sight; None where none is named.

        Raises InvalidInput for a source that no connection has, and where several deals that the caller may see are
        known by this id, as two connections of one source may have it.
        """
        name = self._name
        if not isinstance(name, InSource):
            return name
        tenant_id = self._caller.tenant_id
        connections = sorted(await self._finder.connections(tx, tenant_id, name.source))
        if not connections:
            field = ParameterError("/source", "is the source of no deal", "what deals have as their source")
            raise InvalidInput("No deals come from /source.", fields=[field])
        possible = possible_deal_ids(connections, name.external_id)
        known = await self._finder.deals(tx, tenant_id, possible)
        sight = await self._caller.sight(tx)
        seen = [deal_id for deal_id in possible if deal_id in known and sight.sees_record(known[deal_id])]
        if len(seen) > 1:
            listed = " or ".join(str(deal_id) for deal_id in seen)
            field = ParameterError("/external_id", f"is that of {len(seen)} deals", f"deal_id with {listed}")
            raise InvalidInput("Several connections have a deal with this /external_id.", fields=[field])
        return next(iter([*seen, *(deal_id for deal_id in possible if deal_id in known), *possible]))


def named_deal(description: str) -> Callable[..., Awaitable[NamedDeal]]:
    """A dependency: the deal in `deal_id`, or in `external_id` and `source`; `description` is what it is for.

    `named: Annotated[NamedDeal, Depends(named_deal("Only what this deal caused."))]`.
    """

    async def named(
        caller: CurrentCaller,
        finder: Annotated[DealFinder, Depends(handed(DealFinder))],
        deal_id: Annotated[UUID | None, Query(description=description)] = None,
        external_id: Annotated[
            _ExternalId | None,
            Query(description="With `source`, instead of `deal_id`: the id that the source of the deal gave it."),
        ] = None,
        source: Annotated[
            _Source | None,
            Query(description="With `external_id`: what the deal has as its source."),
        ] = None,
    ) -> NamedDeal:
        given = {"deal_id": deal_id, "external_id": external_id, "source": source}
        name: UUID | InSource | None = deal_id
        if external_id is not None and source is not None and deal_id is None:
            name = InSource(source, external_id)
        elif external_id is not None or source is not None:
            _refuse([each for each, value in given.items() if value is not None], is_twice=deal_id is not None)
        return NamedDeal(name, finder, caller)

    return named


def _refuse(given: list[str], *, is_twice: bool) -> None:
    """Raises InvalidInput: the deal is named in both ways, or by half of a name."""
    if is_twice:
        fields = [ParameterError(f"/{name}", "is given beside another name of the deal", _ONE_OF_TWO) for name in given]
        raise InvalidInput("The deal is named in two ways.", fields=fields)
    (there,) = given
    missing = "source" if there == "external_id" else "external_id"
    raise InvalidInput(
        f"/{there} names no deal without /{missing}.",
        fields=[
            ParameterError(f"/{missing}", f"is missing beside {there}", _ONE_OF_TWO),
            ParameterError(f"/{there}", f"names no deal without {missing}", _ONE_OF_TWO),
        ],
    )
