"""Which errors of the database are taken for what: only those named may ever cost a record."""

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError

from shared.db.failures import DatabaseUnavailable, Failure, classify
from shared.kafka import application
from shared.kafka.domain import Failure as BatchFailure
from shared.kernel.errors import InvalidInput, Unavailable

EVERY_STATE = sorted(
    {
        kind.sqlstate
        for kind in vars(asyncpg.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, PostgresError) and kind.sqlstate
    }
)


def refused(state: str, *, constraint: str | None = None) -> PostgresError:
    error = PostgresError.new({"C": state, "M": "no", **({} if constraint is None else {"n": constraint})})
    assert isinstance(error, PostgresError)
    return error


def blames_the_record(error: Exception) -> bool:
    return application.failure_of(error) is BatchFailure.CONTENT


def test_of_all_that_postgres_can_say_only_data_exceptions_blame_the_record() -> None:
    assert len(EVERY_STATE) > 200
    blamed = [state for state in EVERY_STATE if blames_the_record(refused(state))]
    assert blamed == [state for state in EVERY_STATE if state.startswith("22")]


def test_a_state_nobody_has_heard_of_blames_no_record() -> None:
    assert not blames_the_record(refused("QQ123"))


def test_a_broken_check_blames_the_record_unless_it_is_a_partition_that_is_missing() -> None:
    assert blames_the_record(refused("23514", constraint="ck_deals_amount"))
    assert not blames_the_record(refused("23514"))


def test_what_the_driver_cannot_send_blames_the_record_and_a_connection_it_closed_does_not() -> None:
    class Unsendable(asyncpg.InterfaceError, ValueError):
        pass

    assert blames_the_record(Unsendable("value out of int64 range"))
    assert not blames_the_record(asyncpg.InterfaceError("connection is closed"))
    assert not blames_the_record(asyncpg.InterfaceError("another operation is in progress"))


@pytest.mark.parametrize("state", ["25006", "53100", "53200", "57000", "57P04", "58030"])
def test_a_server_that_refuses_all_work_is_unavailable(state: str) -> None:
    assert classify(refused(state)) is Failure.REFUSED
    assert Failure.REFUSED.passes


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (KeyError("amount"), True),
        (ZeroDivisionError(), True),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), True),
        (InvalidInput("no"), True),
        (AttributeError("a fault of ours"), True),
        (Unavailable("later"), False),
        (DatabaseUnavailable("later"), False),
        (OSError(28, "No space left on device"), False),
        (TimeoutError(), False),
        (MemoryError(), False),
        (RuntimeError("of nobody's making"), False),
        (ExceptionGroup("several", [ValueError()]), False),
    ],
)
def test_of_python_only_what_is_raised_for_values_blames_the_record(error: Exception, blamed: bool) -> None:
    assert blames_the_record(error) is blamed
