"""taskq: tasks and events for Python on Redis or Valkey."""

from __future__ import annotations

from taskq.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    ConfigError,
    EnqueueUnconfirmed,
    InvalidArguments,
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
)
from taskq.middleware import around
from taskq.options import RetryPolicy
from taskq.tasks.app import TaskQ
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
    "BrokerError",
    "BrokerFull",
    "BrokerUnavailable",
    "Call",
    "ConfigError",
    "EnqueueUnconfirmed",
    "Handle",
    "Incident",
    "InvalidArguments",
    "LogContext",
    "Queue",
    "Reject",
    "ResultTimeout",
    "ResultUnavailable",
    "Retain",
    "Retry",
    "RetryPolicy",
    "ScheduleInfo",
    "SerializationError",
    "Task",
    "TaskCancelled",
    "TaskExpired",
    "TaskFailed",
    "TaskQ",
    "TaskTimeout",
    "TaskqError",
    "around",
    "current",
    "log_context",
]

__version__ = "0.1.0"
