"""How a source is called for its records, as conversations: what to call next is decided here, calling done elsewhere.

A conversation yields a `Call`, is sent the `Answer` to it, and ends by returning a result. Whoever holds it
(`services.tracking.intake.calling.caller`) authorises, keeps to the limits, refreshes tokens, repeats what failed and
passes on only answers that `judge` finds to be `OK`. So a source knows no network, no clock and no waiting: it is a
value.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints

from services.tracking.intake.sources.domain import Judgement, Limit

ResultT = TypeVar("ResultT")
CredentialsT_contra = TypeVar("CredentialsT_contra", bound="ApiCredentials", contravariant=True)

Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+$", max_length=200)]
"""The beginning of a source's addresses: scheme and host, no path."""
Printable = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$")]
"""A secret or a name as sources give them out: ASCII without spaces."""


class ApiCredentials(BaseModel):
    """What a connection needs to call its source's API; stored sealed. Each source has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    """Absolute: an address of the credentials and a path."""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: JsonValue = None
    """The body as JSON, where it is one."""
    form: Mapping[str, str] | None = None
    """The body as a form, where it is one. May have secrets, as may the headers: neither is ever logged."""
    endpoint: str = ""
    """What of the source the call is counted against, for sources that limit their endpoints one by one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes


Conversation = Generator[Call, Answer, ResultT]


@dataclass(frozen=True, slots=True)
class Token:
    """Access for a while."""

    value: str
    expires_in: timedelta


@dataclass(frozen=True, slots=True)
class FetchedRecord:
    """A record as the source's API gave it."""

    object_name: str
    raw: Mapping[str, object]
    """As JSON has it, fractions as decimals."""
    fetched_at: datetime
    floor: datetime | None = None
    """It is to be dated no earlier than this."""
    sequence: int | None = None
    """Orders records of the same modified time; None means: by when they were fetched."""


@dataclass(frozen=True, slots=True)
class GoneRecord:
    """A record that the source no longer has, and since when, or when that was noticed."""

    object_name: str
    external_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record out of an answer."""

    object_name: str
    external_id: str
    raw: Mapping[str, object]
    """JSON as `read_json` reads it. It is stored, fractions as texts."""


@dataclass(frozen=True, slots=True)
class Gone:
    """One record that an answer states is gone; `at` is None where it does not state since when."""

    object_name: str
    external_id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records and where to go on; `next_cursor` is None after the last. A cursor is a text of the source's own."""

    records: Sequence[RawRecord] = ()
    gone: Sequence[Gone] = ()
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ApiUser:
    """A user of the source."""

    external_id: str
    name: str | None
    email: str | None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class UserPage:
    """Some users and where to go on."""

    users: Sequence[ApiUser] = ()
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """A subscription to notifications that the source lets expire."""

    id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ChannelRequest:
    """What a channel is to be: where it notifies, the secret it sends along, and what is there already."""

    id: str
    """Of digits, the same for the same connection."""
    notify_url: str
    secret: str
    expires_at: datetime
    is_renewal: bool


class SourceApi(Protocol[CredentialsT_contra]):
    """How one kind of source is called, with credentials of that kind. All of it is pure."""

    credentials: ClassVar[type[ApiCredentials]]
    limits: ClassVar[Sequence[Limit]] = ()
    concurrent_calls_max: ClassVar[int] = 4
    fetch_ids_max: ClassVar[int] = 100
    """How many records `fetch` takes at once."""
    channel_lifetime: ClassVar[timedelta | None] = None
    """How long a channel may live; None for a source that has none."""

    def obtain_token(self, credentials: CredentialsT_contra) -> Conversation[Token] | None:
        """Get access for a while; None where the credentials are the access."""
        return None

    def authorised(self, call: Call, credentials: CredentialsT_contra, token: str | None) -> Call:
        """The call with what proves that it may be made."""
        ...

    def judge(self, call: Call, answer: Answer) -> Judgement:
        """What an answer to any call means. Never raises."""
        ...

    def fetch(
        self, credentials: CredentialsT_contra, object_name: str, external_ids: Sequence[str]
    ) -> Conversation[RecordPage]:
        """These records as they are, those that are gone among `gone`. At most `fetch_ids_max` ids."""
        ...

    def changed(
        self, credentials: CredentialsT_contra, since: datetime | None, cursor: str | None
    ) -> Conversation[RecordPage]:
        """The next page of everything modified at or after a moment, or of everything; from the start without a cursor.

        A record that is modified while the pages are walked may come twice and is not left out.
        """
        ...

    def deleted(
        self, credentials: CredentialsT_contra, since: datetime, cursor: str | None
    ) -> Conversation[RecordPage]:
        """The next page of what was deleted at or after a moment, as far as the source states."""
        ...

    def count(self, credentials: CredentialsT_contra) -> Conversation[int | None]:
        """About how many records `changed` walks without a moment; None where the source does not state it."""
        ...

    def users(self, credentials: CredentialsT_contra, cursor: str | None) -> Conversation[UserPage]:
        """The next page of the source's users."""
        ...

    def open_channel(self, credentials: CredentialsT_contra, request: ChannelRequest) -> Conversation[Channel] | None:
        """Open the channel, or renew it; None for a source that has none."""
        return None


AnySourceApi = SourceApi[Any]
"""Of whichever source: it is given no credentials but those of its own kind, which `credentials` reads."""


class UnexpectedAnswer(Exception):
    """An answer that was found to be `OK` is not of the form the source documents; `detail` is what is wrong."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
