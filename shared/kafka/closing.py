"""Closing a reader of Kafka, whatever state its broker is in."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from aiokafka import AIOKafkaConsumer

from shared.telemetry.logs import get_logger

_log = get_logger(__name__)
_CLOSE_SECONDS_MAX: Final = 10.0


async def close(kafka: AIOKafkaConsumer) -> None:
    """Leave the group and disconnect, within a bounded time. Never fails: nobody has a use for what is closed.

    While a broker is away, `stop` of aiokafka 0.14 raises the CancelledError of its own fetch, which it finds waiting
    to try again, and leaves its connections open. Whoever awaits that takes it for a cancellation of its own.
    """
    if await _ended(kafka.stop()):
        return
    # What the stop did not come to: these keep a client reading and connecting for ever.
    for part in (kafka._fetcher, kafka._client):
        if part is not None:
            await _ended(part.close())


async def _ended(closing: Coroutine[object, object, None]) -> bool:
    """Whether it came to its end, and to a good one."""
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.wait([task], timeout=_CLOSE_SECONDS_MAX)
    finally:
        cut_short = task.cancel()
    if cut_short or task.cancelled():
        _log.info("close_cut_short", too_long=cut_short)
        return False
    if (error := task.exception()) is not None:
        _log.warning("close_failed", error_type=type(error).__qualname__)
    return error is None
