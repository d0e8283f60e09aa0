"""taskq: tasks and events for Python on Redis or Valkey."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskq.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    ConfigError,
    EnqueueUnconfirmed,
    InvalidArguments,
    NoOffset,
    PublishUnconfirmed,
    Reject,
    ResultTimeout,
    ResultUnavailable,
    Retry,
    SerializationError,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskqError,
    TaskTimeout,
    UnknownTopic,
    VersionConflict,
)

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.events.broadcast import Broadcast
    from taskq.events.handling import Route
    from taskq.events.hearing import Gap, Heard
    from taskq.events.properties import Dedup, Retention, TopicProperties
    from taskq.events.record import Event, Offset, Published, Record
    from taskq.events.shared import SharedSubscription
    from taskq.events.topic import Topic
    from taskq.middleware import around
    from taskq.options import RetryPolicy
    from taskq.tasks.app_options import AppOptions
    from taskq.tasks.batch import Batch
    from taskq.tasks.context import current
    from taskq.tasks.handle import Handle
    from taskq.tasks.hooks import Incident
    from taskq.tasks.log_context import LogContext, log_context
    from taskq.tasks.outgoing import Call
    from taskq.tasks.queues import Queue, Retain
    from taskq.tasks.schedule_admin import ScheduleInfo
    from taskq.tasks.task import Task

__all__ = [
    "AppOptions",
    "Batch",
    "Broadcast",
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "Call",
    "ConfigError",
    "Dedup",
    "EnqueueUnconfirmed",
    "Event",
    "Gap",
    "Handle",
    "Heard",
    "Incident",
    "InvalidArguments",
    "LogContext",
    "NoOffset",
    "Offset",
    "PublishUnconfirmed",
    "Published",
    "Queue",
    "Record",
    "Reject",
    "ResultTimeout",
    "ResultUnavailable",
    "Retain",
    "Retention",
    "Retry",
    "RetryPolicy",
    "Route",
    "ScheduleInfo",
    "SerializationError",
    "SharedSubscription",
    "Task",
    "TaskCancelled",
    "TaskExpired",
    "TaskFailed",
    "TaskQ",
    "TaskTimeout",
    "TaskqError",
    "Topic",
    "TopicProperties",
    "UnknownTopic",
    "VersionConflict",
    "around",
    "current",
    "log_context",
]

__version__ = "0.1.0"

_HOMES = {
    "AppOptions": "taskq.tasks.app_options",
    "Batch": "taskq.tasks.batch",
    "Broadcast": "taskq.events.broadcast",
    "Call": "taskq.tasks.outgoing",
    "Dedup": "taskq.events.properties",
    "Event": "taskq.events.record",
    "Gap": "taskq.events.hearing",
    "Handle": "taskq.tasks.handle",
    "Heard": "taskq.events.hearing",
    "Incident": "taskq.tasks.hooks",
    "LogContext": "taskq.tasks.log_context",
    "Offset": "taskq.events.record",
    "Published": "taskq.events.record",
    "Queue": "taskq.tasks.queues",
    "Record": "taskq.events.record",
    "Retain": "taskq.tasks.queues",
    "Retention": "taskq.events.properties",
    "RetryPolicy": "taskq.options",
    "Route": "taskq.events.handling",
    "ScheduleInfo": "taskq.tasks.schedule_admin",
    "SharedSubscription": "taskq.events.shared",
    "Task": "taskq.tasks.task",
    "TaskQ": "taskq.app",
    "Topic": "taskq.events.topic",
    "TopicProperties": "taskq.events.properties",
    "around": "taskq.middleware",
    "current": "taskq.tasks.context",
    "log_context": "taskq.tasks.log_context",
}
"""Where names are imported from when they are first asked for: `taskq --help` and programs without topics do without
most of it.
"""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'taskq' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
