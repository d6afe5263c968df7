"""Whose records a caller may see."""

from dataclasses import dataclass

from shared.kernel.org import CrmUser


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: which CRM users are somebody, and whose records may be seen; None for everybody's."""

    mapped: frozenset[CrmUser]
    visible: frozenset[CrmUser] | None

    def sees(self, source: str, owner_external_id: str | None) -> bool:
        """Whether a record with this owner may be seen."""
        if self.visible is None:
            return True
        return owner_external_id is not None and CrmUser(source, owner_external_id) in self.visible
