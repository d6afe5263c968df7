"""The mail server that letters are handed to, and how one is handed over."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPConnectError, SMTPException, SMTPResponseException
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.tracking.tell.channels.domain import mail
from services.tracking.tell.channels.domain.mail import Reply
from services.tracking.tell.channels.domain.messages import Outcome, Result

ATTEMPT_SECONDS_MAX: Final = 20.0
_PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_UNCONFIGURED: Final = Outcome(
    Result.CLOSED, "", "This installation has no mail server: whoever runs it sets ATTAIN_MAIL_SERVER."
)


class MailSettings(BaseSettings):
    """`ATTAIN_MAIL_SERVER` and `ATTAIN_MAIL_SENDER`; without them no mail is sent."""

    model_config = SettingsConfigDict(env_prefix="ATTAIN_MAIL_", extra="ignore", hide_input_in_errors=True)

    server: SecretStr | None = Field(
        None,
        description="`smtp://user:password@host:587` (STARTTLS), `smtps://…:465`, or `smtp+plain://host:25` without.",
    )
    sender: str = Field("attain@localhost", description="The address that letters come from.")

    @field_validator("server")
    @classmethod
    def _check_server(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit("smtp://localhost" if value is None else value.get_secret_value())
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("smtp://, smtps:// or smtp+plain:// and a host")
        return value

    @field_validator("sender")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if value != "attain@localhost" and not mail.is_address(value):
            raise ValueError("an address such as attain@example.com")
        return value


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of a letter: who is to be tried again, and the server's words."""

    outcome: Outcome
    left: tuple[str, ...]
    answer: str


class Mailer:
    """Hands letters to the mail server, one connection each."""

    def __init__(self, settings: MailSettings, *, timeout_seconds: float = ATTEMPT_SECONDS_MAX) -> None:
        self.sender = settings.sender
        self._server = None if settings.server is None else urlsplit(settings.server.get_secret_value())
        self._timeout_seconds = timeout_seconds

    async def hand_over(self, letter: bytes, recipients: Sequence[str]) -> Handed:
        """Each recipient is asked for by itself. What broke off before the letter was handed over did not arrive."""
        if self._server is None:
            return Handed(_UNCONFIGURED, tuple(recipients), "")
        server = self._server
        client = SMTP(
            hostname=server.hostname,
            port=server.port or _PORTS[server.scheme],
            use_tls=server.scheme == "smtps",
            start_tls=server.scheme == "smtp",
            timeout=self._timeout_seconds,
        )
        dialogue = _Dialogue(tuple(recipients))
        try:
            async with client:
                if server.username:
                    await client.login(unquote(server.username), unquote(server.password or ""))
                return await dialogue.hand_over(client, self.sender, letter)
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            return dialogue.broken_off(error)


class _Dialogue:
    """How far one letter came."""

    def __init__(self, recipients: tuple[str, ...]) -> None:
        self._recipients = recipients
        self._refused: dict[str, Reply] = {}
        self._has_data_begun = False
        self._taken: Handed | None = None

    async def hand_over(self, client: SMTP, sender: str, letter: bytes) -> Handed:
        await client.mail(sender)
        for recipient in self._recipients:
            try:
                await client.rcpt(recipient)
            except SMTPResponseException as error:
                self._refused[recipient] = Reply(error.code, error.message)
        if len(self._refused) < len(self._recipients):
            self._has_data_begun = True
            await client.data(letter)
        outcome, left = mail.outcome_of(self._refused, self._recipients)
        self._taken = Handed(outcome, left, self._words())
        return self._taken

    def broken_off(self, error: Exception) -> Handed:
        """What an error means for everybody the letter was not refused for."""
        if self._taken is not None:
            # The letter had been taken: only the goodbye failed.
            return self._taken
        words = "; ".join(each for each in (self._words(), str(error) or type(error).__name__) if each)
        match error:
            case SMTPAuthenticationError():
                closed = "The mail server does not take the user and password: whoever runs this sets them again."
                return Handed(Outcome(Result.CLOSED, str(error.code), closed), self._recipients, words)
            case SMTPConnectError():
                return Handed(Outcome(Result.RETRY), self._recipients, words)
            case SMTPResponseException() if 400 <= error.code < 500:
                return Handed(Outcome(Result.RETRY, str(error.code)), self._recipients, words)
            case SMTPResponseException() if error.code >= 500:
                said = f"The mail server says: {error.message[:300]}"
                return Handed(Outcome(Result.REFUSED, str(error.code), said), (), words)
        if self._has_data_begun:
            return Handed(Outcome(Result.UNKNOWN), (), words)
        return Handed(Outcome(Result.RETRY), self._recipients, words)

    def _words(self) -> str:
        return "; ".join(f"{recipient}: {reply.code} {reply.text}" for recipient, reply in self._refused.items())
