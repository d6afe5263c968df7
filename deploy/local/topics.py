"""Set up the topics of the contracts, or say in one sentence why that cannot be."""

import asyncio

from aiokafka.errors import KafkaError

from deploy.local.errors import StackError
from shared.contracts.topics import TOPICS
from shared.kafka.settings import KafkaSettings
from shared.kafka.topics import TopicsUnusable, ensure_topics


def set_up_topics(settings: KafkaSettings) -> None:
    """Create what is missing at the broker of `settings`. Call it from a thread where no event loop runs."""
    try:
        asyncio.run(ensure_topics(settings, tuple(TOPICS.values())))
    except (KafkaError, TopicsUnusable, OSError) as error:
        raise StackError(
            f"The topics cannot be set up at {settings.bootstrap} (ATTAIN_KAFKA_BOOTSTRAP): {error}."
        ) from error
