"""TCP ports of the local stack, all on loopback."""

import socket
from dataclasses import dataclass
from typing import Self

from deploy.local.errors import StackError

LOOPBACK = "127.0.0.1"
LOOPBACK_NETWORK = "127.0.0.0/8"
PORT_BASE_DEFAULT = 8100


@dataclass(frozen=True, slots=True)
class Ports:
    """One port for everything that listens."""

    goals: int
    tracking: int
    incentives: int
    postgres: int
    kafka: int
    kafka_controller: int
    goals_worker: int
    tracking_worker: int
    incentives_worker: int

    @classmethod
    def from_base(cls, base: int) -> Self:
        """The usual layout: with base 8100 the APIs are at 8101 to 8103 and the workers at 8201 to 8203."""
        return cls(
            goals=base + 1,
            tracking=base + 2,
            incentives=base + 3,
            postgres=base + 10,
            kafka=base + 11,
            kafka_controller=base + 12,
            goals_worker=base + 101,
            tracking_worker=base + 102,
            incentives_worker=base + 103,
        )

    @classmethod
    def free(cls) -> Self:
        """Ports that nothing listens on at the moment, different ones at each call."""
        return cls(*free_ports(9))


def free_ports(count: int) -> list[int]:
    """Different ports that can be bound on loopback now; another process may still take one before it is used."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for bound in sockets:
            bound.bind((LOOPBACK, 0))
        return [bound.getsockname()[1] for bound in sockets]
    finally:
        for bound in sockets:
            bound.close()


def require_free(port: int, purpose: str) -> None:
    """Raise `StackError` naming the port, what it is for and how to change it, if it cannot be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise StackError(
                f"Port {port} for {purpose} is taken ({error.strerror}): stop what uses it or set ATTAIN_PORT_BASE "
                f"(default {PORT_BASE_DEFAULT}) to move all ports."
            ) from error
