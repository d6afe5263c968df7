"""A mail server on 127.0.0.1, played by a real one (aiosmtpd) that refuses, fails and breaks off as it is told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as LETTERS

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class MailServer:
    """`letters` are those it took, each with whom it is for. What is in `recipients` and `letters_next` is answered."""

    def __init__(self) -> None:
        self.letters: list[tuple[tuple[str, ...], EmailMessage]] = []
        self.refusals: dict[str, str] = {}
        """The reply to a recipient, such as "550 No such user"."""
        self.answers: deque[str | None] = deque()
        """The replies to the next letters; None breaks off without one, when it may have been taken."""
        self.logins: list[str] = []
        self.port = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answers and (answer := self.answers.popleft()) != "250":
            if answer is None:
                assert isinstance(server.transport, asyncio.WriteTransport)
                server.transport.abort()
                return "451 never seen"
            return answer
        content = envelope.content
        assert isinstance(content, bytes)
        letter = BytesParser(policy=LETTERS).parsebytes(content)
        assert isinstance(letter, EmailMessage)
        self.letters.append((tuple(envelope.rcpt_tos), letter))
        return "250 taken"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password == b"right", handled=False)


@asynccontextmanager
async def mail_server(*, asks_who: bool = False) -> AsyncIterator[MailServer]:
    """A server on a port of its own, for the block; `asks_who` wants a user whose password is `right`."""
    played = MailServer()

    def connected() -> SMTP:
        return SMTP(
            played,
            hostname="127.0.0.1",
            authenticator=played.authenticate if asks_who else None,
            auth_require_tls=False,
        )

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    played.port = server.sockets[0].getsockname()[1]
    try:
        yield played
    finally:
        server.close()
