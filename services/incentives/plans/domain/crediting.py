"""Who is credited with a deal that changes hands: the owner's change, a leaver's open deals, house accounts.

These rules are part of the terms that are approved. They are about the owner of a deal, where no splits say who has
which share; a house account is nobody's whether it owns or shares.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from shared.kernel.errors import InvalidInput

LEAVER_DAYS_MAX: Final = 3660
HOUSE_ACCOUNTS_MAX: Final = 100


class CreditedOwner(StrEnum):
    """Which owner of a deal is credited with it."""

    NOW = "now"
    """Whoever owns it now."""
    ON_DAY = "on_day"
    """Whoever owned it at the end of the day it counts on, as far as its versions tell."""


class Inheritor(StrEnum):
    """Who is credited with the deals that somebody who left had open on the last day."""

    NEW_OWNER = "new_owner"
    """Whoever owns them, as with any other deal."""
    LEAVER = "leaver"
    """Who left, and not the new owner."""
    HOUSE = "house"
    """Nobody."""


@dataclass(frozen=True, slots=True)
class LeaverRule:
    """Who is credited with a leaver's open deals that count within `days` days after the last one; then the new owner.

    None for `days` is for good. Somebody leaves whose assignment ends, with no other one on the day after.
    """

    pays: Inheritor = Inheritor.NEW_OWNER
    days: int | None = None

    def __post_init__(self) -> None:
        if self.days is not None and not 1 <= self.days <= LEAVER_DAYS_MAX:
            raise InvalidInput.field("/days", f"is {self.days}", f"1 to {LEAVER_DAYS_MAX}")
        if self.pays is Inheritor.NEW_OWNER and self.days is not None:
            raise InvalidInput.field("/days", "is of what the new owner has from the first day", "nothing")
        if self.pays is Inheritor.LEAVER and self.days is None:
            raise InvalidInput.field(
                "/days", "is left out", f"for how many days a leaver is paid, 1 to {LEAVER_DAYS_MAX}"
            )


@dataclass(frozen=True, slots=True)
class CreditingRules:
    """Which owner of a deal is credited, whose a leaver's open deals are, and the people nobody is paid on."""

    owner: CreditedOwner = CreditedOwner.NOW
    leaver: LeaverRule = LeaverRule()
    house_accounts: tuple[UUID, ...] = ()

    def __post_init__(self) -> None:
        if len(self.house_accounts) > HOUSE_ACCOUNTS_MAX:
            raise InvalidInput.field(
                "/house_accounts", f"has {len(self.house_accounts)} members", f"at most {HOUSE_ACCOUNTS_MAX}"
            )


PLAIN_CREDITING: Final = CreditingRules()
"""The owner now, whoever left."""
