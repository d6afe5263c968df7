import json
import logging

import pytest

from shared.telemetry import logs


class LogLines:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def configure(self) -> None:
        """Inside the test, as pytest gives every phase its own stdout."""
        logs.configure("goals")

    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def lines(logs_to_configure: None, capsys: pytest.CaptureFixture[str]) -> LogLines:
    return LogLines(capsys)


def test_a_line_is_json_with_service_level_time_and_request_id(lines: LogLines) -> None:
    lines.configure()
    token = logs.request_id.set("req-1")
    try:
        logs.get_logger("unit").info("goal activated", goals=3)
    finally:
        logs.request_id.reset(token)
    (line,) = lines.read()
    assert line["event"] == "goal activated"
    assert line["service"] == "goals"
    assert line["level"] == "info"
    assert line["request_id"] == "req-1"
    assert line["goals"] == 3
    assert line["logger"] == "unit"
    assert str(line["time"]).endswith("Z")


def test_secrets_and_personal_data_are_masked_at_any_depth(lines: LogLines) -> None:
    lines.configure()
    logs.get_logger("unit").warning(
        "refused",
        headers={"Authorization": "Bearer abc.def", "x-request-id": "7"},
        people=[{"name": "Darcel Schlecht", "Email": "d@example.com", "id": 4}],
        webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    (line,) = lines.read()
    text = json.dumps(line)
    for leaked in ("abc.def", "Darcel", "example.com", "MfKQ9r8"):
        assert leaked not in text
    assert line["headers"] == {"Authorization": logs.MASK, "x-request-id": "7"}
    assert line["people"] == [{"name": logs.MASK, "Email": logs.MASK, "id": 4}]


@pytest.mark.parametrize(
    ("text", "leaked"),
    [
        ("login of jane.doe@example.com failed", "jane.doe"),
        ("sent Authorization: Bearer s3cr3t-t0ken.x", "s3cr3t"),
        ("cannot reach postgresql+asyncpg://app:hunter2@db:5432/attain", "hunter2"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is old", "eyJzdWIiOiIxIn0"),
        ("unique violation\nDETAIL:  Key (name)=(Jane Doe) already exists.", "Jane"),
        ("[SQL: INSERT INTO people]\n[parameters: ('Jane Doe',\n 'x')]", "Jane"),
    ],
)
def test_texts_are_scrubbed_of_what_identifies_or_opens(text: str, leaked: str) -> None:
    assert leaked in text
    assert leaked not in logs.scrub(text)


def test_an_exception_is_logged_without_the_values_it_carries(lines: LogLines) -> None:
    lines.configure()
    try:
        raise ValueError("no such person jane@example.com")
    except ValueError:
        logs.get_logger("unit").exception("failed")
    (line,) = lines.read()
    assert "ValueError" in str(line["exception"])
    assert "jane@" not in str(line["exception"])


def test_libraries_log_through_the_same_shape_and_redaction(lines: LogLines) -> None:
    lines.configure()
    logging.getLogger("aiokafka").warning("broker said %s", "Bearer abcdef123")
    (line,) = lines.read()
    assert line["logger"] == "aiokafka"
    assert line["service"] == "goals"
    assert "abcdef123" not in str(line["event"])
