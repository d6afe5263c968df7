from structlog.testing import capture_logs

from shared.telemetry.logs import get_logger
from shared.telemetry.sampling import LogSampler, SampledLog


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_first_lines_of_a_flood_are_logged_and_then_how_many_more_there_were() -> None:
    clock = Clock()
    log = SampledLog(get_logger("flood"), LogSampler(lines_max=3, window_seconds=10, clock=clock))
    with capture_logs() as lines:
        for _ in range(100):
            log.warning("refused", kind="a", reason="unknown")
        log.warning("refused", kind="b", reason="other")
        clock.seconds = 11.0
        log.info("refused", kind="a", reason="unknown")
    assert [(line["reason"], line.get("suppressed")) for line in lines] == [
        ("unknown", None),
        ("unknown", None),
        ("unknown", None),
        ("other", None),
        ("unknown", 97),
    ]


def test_what_was_held_back_is_said_with_the_next_line() -> None:
    clock = Clock()
    sampler = LogSampler(lines_max=1, window_seconds=10, clock=clock)
    assert [sampler.admit("a") for _ in range(5)] == [0, None, None, None, None]
    clock.seconds = 10.0
    assert sampler.admit("a") == 4
    assert sampler.admit("a") is None


def test_kinds_without_end_take_bounded_memory() -> None:
    sampler = LogSampler(lines_max=1, clock=Clock())
    admitted = sum(sampler.admit(number) is not None for number in range(5000))
    assert admitted == 1001
