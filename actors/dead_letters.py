"""Where messages go that are no valid task: a topic of their own, with the reason in a header."""

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from actors.kafka_link import broker_errors, send
from pipeline.metrics import request

MAX_REASON_CHARS = 500
TRUNCATED_BYTES = 1024


def dead_letter_topic(topic: str) -> str:
    return f"{topic}.dlq"


async def bury(producer: AIOKafkaProducer, record: ConsumerRecord, reason: str) -> None:
    """Return once the copy is durable. Raises ``BrokerUnavailable``.

    Headers: ``reason``, ``original-topic``, ``original-partition``, ``original-offset``. Of a
    message that the broker does not take whole, only the beginning of key and value is kept, and
    ``truncated`` names the value's full size in bytes. A letter may appear twice.
    """
    topic = dead_letter_topic(record.topic)
    key, value = record.key, record.value or b""
    headers = [
        ("reason", reason[:MAX_REASON_CHARS].encode(errors="replace")),
        ("original-topic", record.topic.encode()),
        ("original-partition", b"%d" % record.partition),
        ("original-offset", b"%d" % record.offset),
    ]
    with request("kafka", "send"), broker_errors():
        try:
            await send(producer, topic, value, key=key, headers=headers)
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            headers.append(("truncated", b"%d" % len(value)))
            short_key = key[:TRUNCATED_BYTES] if key else key
            await send(producer, topic, value[:TRUNCATED_BYTES], key=short_key, headers=headers)
