"""Connections to brokers that break as aiokafka expects them to.

For a moment after a broker went away its connection is closed and aiokafka does not know yet. What it then writes to
one of asyncio's transports is lost or an OSError, and it foresees both. One of uvloop's raises a RuntimeError, which
ends whichever of its tasks wrote, for good and mostly unseen: a producer's sender, a reader's fetches, a group's
heartbeats.
"""

from collections.abc import Awaitable

from aiokafka import conn
from aiokafka.errors import KafkaConnectionError, KafkaError


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """A connection whose end is a KafkaConnectionError, whatever the event loop makes of it."""

    def send(self, request: object, expect_response: bool = True) -> Awaitable[object]:
        """Send a request; the answer to it."""
        try:
            answer: Awaitable[object] = super().send(request, expect_response)
        except (KafkaError, NotImplementedError):
            # Both are a RuntimeError: the one is foreseen, the other says that the broker is too old or too new.
            raise
        except RuntimeError as error:
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error
        return answer


def use_own_connections() -> None:
    """Have every client of aiokafka made from now on connect by `Connection`: it takes no other way to be told so."""
    conn.AIOKafkaConnection = Connection
