"""Log lines that a stranger can cause: the first few, then how many more there were."""

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Final

from structlog.typing import FilteringBoundLogger

LINES_MAX: Final = 20
WINDOW_SECONDS: Final = 10.0
_KEYS_MAX: Final = 1000


class LogSampler:
    """Lets `lines_max` lines of a kind through in each `window_seconds`; the first of a later window says `suppressed`.

    How often each thing happened is in the metrics; the log is for examples. Kinds beyond the first thousand share one.
    """

    def __init__(
        self,
        *,
        lines_max: int = LINES_MAX,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._lines_max = lines_max
        self._window_seconds = window_seconds
        self._clock = clock
        # By kind: when its window began, the lines of it, and what was held back since the last line.
        self._windows: dict[Hashable, tuple[float, int, int]] = {}

    def admit(self, kind: Hashable) -> int | None:
        """How many lines of the kind were held back before this one; None when this one is held back too."""
        if kind not in self._windows and len(self._windows) >= _KEYS_MAX:
            kind = None
        now = self._clock()
        began, lines, suppressed = self._windows.get(kind, (now, 0, 0))
        if now - began >= self._window_seconds:
            began, lines = now, 0
        if lines >= self._lines_max:
            self._windows[kind] = (began, lines, suppressed + 1)
            return None
        self._windows[kind] = (began, lines + 1, 0)
        return suppressed


class SampledLog:
    """A logger for what strangers can cause as often as they like."""

    def __init__(self, log: FilteringBoundLogger, sampler: LogSampler | None = None) -> None:
        self._log = log
        self._sampler = sampler or LogSampler()

    def info(self, event: str, *, kind: Hashable = None, **fields: object) -> None:
        """Log the line unless there were too many of its event and `kind` of late."""
        suppressed = self._sampler.admit((event, kind))
        if suppressed is not None:
            self._log.info(event, **fields, **({"suppressed": suppressed} if suppressed else {}))

    def warning(self, event: str, *, kind: Hashable = None, **fields: object) -> None:
        """As `info`, as a warning."""
        suppressed = self._sampler.admit((event, kind))
        if suppressed is not None:
            self._log.warning(event, **fields, **({"suppressed": suppressed} if suppressed else {}))
