"""What must have happened before the processes of a release start: schemas upgraded, topics there.

Run as `python -m deploy.docker.prepare` with ATTAIN_DATABASE_URL of the schemas' owner and ATTAIN_KAFKA_….
"""

import os
import sys

from deploy.local.errors import StackError
from deploy.local.migrations import migrate
from deploy.local.topics import set_up_topics
from shared.kafka.settings import KafkaSettings


def main() -> int:
    """Exit status: 0, or 1 with one sentence on standard error."""
    try:
        migrate(os.environ.get("ATTAIN_DATABASE_URL", ""))
        set_up_topics(KafkaSettings())
    except StackError as error:
        print(f"attain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
