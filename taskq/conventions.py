"""The names of OpenTelemetry that taskq uses: those of its conventions for messaging, and our own beside them.

The conventions are still in development, and names in them have changed before: they stand here and nowhere else.
"""

from __future__ import annotations

from typing import Final

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
BATCH_COUNT: Final = "messaging.batch.message_count"
GROUP: Final = "messaging.consumer.group.name"
PARTITION: Final = "messaging.destination.partition.id"
ERROR_TYPE: Final = "error.type"

TASK: Final = "taskq.task.name"
ATTEMPT: Final = "taskq.attempt"
CREATED: Final = "taskq.created"
RETRY: Final = "taskq.retry_requested"

TASKQ: Final = "taskq"
SEND: Final = "send"
PROCESS: Final = "process"

SENT_MESSAGES: Final = "messaging.client.sent.messages"
CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"
PROCESS_DURATION: Final = "messaging.process.duration"
DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
