"""The words of sources: which there are, how their words become ours, and why what they send may not be taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from shared.kernel.deals import DealStatus
from shared.kernel.errors import InvalidInput
from shared.kernel.text import composed

StatusT = TypeVar("StatusT")


class Source(StrEnum):
    """The kinds of sender a connection can be made for."""

    STANDARD_WEBHOOKS = "standard_webhooks"
    PIPEDRIVE = "pipedrive"
    ZOHO = "zoho"
    FXIAOKE = "fxiaoke"
    SALESFORCE = "salesforce"
    HUBSPOT = "hubspot"


class InvalidSecret(InvalidInput):
    """The secret is not one that this kind of source signs or authenticates with."""

    code = "invalid_secret"
    title = "Invalid secret"


class Rejection(StrEnum):
    """Why a delivery is not from who it claims. For metrics only: the sender does not learn it."""

    UNKNOWN_CONNECTION = "unknown_connection"
    HEADERS = "headers"
    TIMESTAMP = "timestamp"
    SIGNATURE = "signature"
    ADDRESS = "address"
    """Signed with a secret of the connection, for another address than this service takes for its own."""
    NOT_ALLOWED = "not_allowed"
    """It knows a secret of the connection, and states an origin that the connection does not allow."""


class Untranslatable(Exception):
    """A delivery that cannot become deals, however often it is tried as it is: it goes to quarantine.

    `reason` is one of a fixed few, `pointer` the place in the body (JSON pointer), `detail` what is wrong there.
    """

    def __init__(self, reason: "QuarantineReason", pointer: str, detail: str) -> None:
        super().__init__(f"{reason}: {pointer}: {detail}")
        self.reason = reason
        self.pointer = pointer
        self.detail = detail


class QuarantineReason(StrEnum):
    """Why deliveries are put in quarantine."""

    NOT_JSON = "not_json"
    NOT_XML = "not_xml"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    STAGE_UNMAPPED = "stage_unmapped"
    API_ACCESS_MISSING = "api_access_missing"
    RECORD_INCOMPLETE = "record_incomplete"
    ADAPTER_FAILED = "adapter_failed"


class RemarkKind(StrEnum):
    """A remark on something that was translated all the same."""

    UNKNOWN_MEMBER = "unknown_member"
    """A member that no canonical record has, so that its value is not stored."""
    FROM_THE_FUTURE = "from_the_future"
    """A record modified later than its delivery can have been sent: it is ordered by when it was received."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something of a delivery that whoever looks after the connection should know, and where in the body it is."""

    kind: RemarkKind
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class TeamShare:
    """What each member of a deal's team with some role has of the deal: `percent` of 100, credited in `role`."""

    role: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class ProductFields:
    """Where a source's deal has what is sold with it, as dotted paths: `lines` in the deal, the others in each line."""

    lines: str
    sku: str
    quantity: str | None = None
    amount: str | None = None


@dataclass(frozen=True, slots=True)
class InstalmentFields:
    """Where a source's deal has its payments or its invoices, as dotted paths.

    `on` and `amount` are in each of the `lines`; without `lines` they are in the deal itself, which then has one, and
    without an `amount` that is of the deal's whole amount.
    """

    on: str
    amount: str | None = None
    lines: str | None = None


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """How one CRM's words become ours.

    `stages`: raw stage → status, stronger than a status the source states. `fields`: canonical field → where the
    source has it, as a dotted path into its deal. `custom_fields`: the source's custom field → our name for it.
    `users`: the source's user → the external user id that identities know. `pipelines`: the source's pipeline → our
    name for it. `currency`: of deals for which the source states none. `split_type`: which of the source's kinds of
    split counts; None for all. `teams`: the source's team or department → the external user id that owns what only the
    team owns. `team_roles`: a member's role in the team of a deal → its share. `products`: where what is sold with a
    deal is, if the source has no place of its own for it, and `payments` and `invoices` likewise. `asks_products`:
    whether a deal is fetched when a webhook states it without what is sold with it.
    """

    stages: Mapping[str, DealStatus] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    pipelines: Mapping[str, str] = field(default_factory=dict)
    currency: str | None = None
    split_type: str | None = None
    teams: Mapping[str, str] = field(default_factory=dict)
    team_roles: Mapping[str, TeamShare] = field(default_factory=dict)
    products: ProductFields | None = None
    asks_products: bool = False
    payments: InstalmentFields | None = None
    invoices: InstalmentFields | None = None

    def status_of(self, stage: object, otherwise: StatusT) -> DealStatus | StatusT:
        """The status that a stage of the source means; `otherwise` for one that is not mapped."""
        return self.stages.get(composed(stage), otherwise) if isinstance(stage, str) else otherwise


class Verdict(StrEnum):
    """What an answer means for the call that it answers."""

    OK = "ok"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    """Get another token and call once more; where the credentials are the access, they are not taken any more."""
    RATE_LIMITED = "rate_limited"
    """Too many calls for now: wait, as long as is stated, and call again."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """No more calls for a long time, such as until tomorrow."""
    TRANSIENT = "transient"
    """The source is unwell: try again a few times."""
    REFUSED = "refused"
    """It will not answer this however often it is called: the access or the call is wrong."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, how long to wait where the source states it, and its message, for whoever operates the connection."""

    verdict: Verdict
    retry_after: timedelta | None = None
    detail: str = ""
    credits_remaining: int | None = None
    """How many calls are left, where the answer states it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """No more than so many calls in any window of this length; of each endpoint, or of all together."""

    calls: int
    window: timedelta
    is_per_endpoint: bool = False


@dataclass(frozen=True, slots=True)
class RecordChange:
    """Some fields of a record of a source that does not always state all of them; None for a field that is empty now.

    What was stated of a record is put together field by field, the newest of each, and then translated as a whole by
    `Adapter.translate_record`.
    """

    object_name: str
    external_id: str
    values: Mapping[str, object]
    """As JSON has them."""
    at: datetime
    sequence: int = 0
    """Orders changes of the same moment."""
    is_whole: bool = False
    """Whether all fields that the translation needs are among them, so that nothing has to be fetched."""
    is_deleted: bool = False
    """The record is gone from then on; a later change that is not a deletion brings it back."""
