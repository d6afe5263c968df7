"""From aiokafka's records to ours."""

from aiokafka import ConsumerRecord

from shared.kafka.domain import Record


def as_record(record: ConsumerRecord) -> Record:
    """The record with its key as text and its headers by name; of headers with the same name the last one counts."""
    key = record.key
    return Record(
        record.topic,
        record.partition,
        record.offset,
        "" if key is None else key.decode("utf-8", "replace"),
        dict(record.headers),
        record.value,
        record.timestamp,
    )
