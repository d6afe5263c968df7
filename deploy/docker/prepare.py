"""What must have happened before the processes of a release start: schemas upgraded, logins and topics there.

Run as `python -m deploy.docker.prepare` with ATTAIN_DATABASE_URL of the schemas' owner and ATTAIN_KAFKA_…. With
ATTAIN_LOGIN_PASSWORD it makes the logins `attain_goals`, `attain_tracking` and `attain_incentives` with this password;
without, somebody else has made them.
"""

import os
import sys

from deploy.local.errors import StackError
from deploy.local.logins import create_logins
from deploy.local.migrations import migrate
from deploy.local.topics import set_up_topics
from shared.kafka.settings import KafkaSettings


def main() -> int:
    """Exit status: 0, or 1 with one sentence on standard error."""
    try:
        owner = os.environ.get("ATTAIN_DATABASE_URL", "")
        migrate(owner)
        if password := os.environ.get("ATTAIN_LOGIN_PASSWORD"):
            create_logins(owner, lambda _: password)
        set_up_topics(KafkaSettings())
    except StackError as error:
        print(f"attain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
