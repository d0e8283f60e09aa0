"""taskq: tasks and events for Python on Redis or Valkey."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskq.app import TaskQ
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

if TYPE_CHECKING:
    from taskq.events.broadcast import Broadcast
    from taskq.events.handling import Route
    from taskq.events.hearing import Gap, Heard
    from taskq.events.properties import Dedup, Retention, TopicProperties
    from taskq.events.record import Event, Offset, Published, Record
    from taskq.events.shared import SharedSubscription
    from taskq.events.topic import Topic

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

_EVENTS = {
    "Broadcast": "taskq.events.broadcast",
    "Dedup": "taskq.events.properties",
    "Event": "taskq.events.record",
    "Gap": "taskq.events.hearing",
    "Heard": "taskq.events.hearing",
    "Offset": "taskq.events.record",
    "Published": "taskq.events.record",
    "Record": "taskq.events.record",
    "Retention": "taskq.events.properties",
    "Route": "taskq.events.handling",
    "SharedSubscription": "taskq.events.shared",
    "Topic": "taskq.events.topic",
    "TopicProperties": "taskq.events.properties",
}
"""What is imported when it is first asked for: a program without topics does without it."""


def __getattr__(name: str) -> Any:
    if name not in _EVENTS:
        raise AttributeError(f"module 'taskq' has no attribute {name!r}")
    return getattr(import_module(_EVENTS[name]), name)
