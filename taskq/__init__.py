"""taskq: tasks and events for Python on Redis or Valkey."""

from __future__ import annotations

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
]

__version__ = "0.1.0"
