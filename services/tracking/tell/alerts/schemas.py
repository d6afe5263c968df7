"""Alerts on the wire: answered as they were published."""

from typing import Final

from pydantic import JsonValue

from shared.contracts.alerts import Alert
from shared.contracts.examples import EXAMPLES

ALERT_EXAMPLE: Final[dict[str, JsonValue]] = EXAMPLES[Alert.event_type].model_dump(mode="json")
