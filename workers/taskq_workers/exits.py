"""Exit codes of `taskq`, the same for every subcommand."""

from __future__ import annotations

from taskq.errors import (
    AppImportError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigError,
    InvalidArguments,
    TaskqError,
    UnknownGroup,
    UnknownTask,
)

OK = 0
FAILED = 1  # a task, or the command itself, failed
USAGE = 2  # wrong options, settings or names
UNREACHABLE = 3  # the broker does not answer, or will not serve us
NO_APP = 4  # the app cannot be imported
FORCED = 5  # a worker was told twice to stop, and gave its work back
UNHEALTHY = 6  # the broker answers, but a check failed
INTERRUPTED = 130  # Ctrl+C, as shells count it

_CODES: tuple[tuple[type[TaskqError], int], ...] = (
    (AppImportError, NO_APP),
    (BrokerUnavailable, UNREACHABLE),
    (BrokerRefused, UNREACHABLE),
    (ConfigError, USAGE),
    (InvalidArguments, USAGE),
    (UnknownGroup, USAGE),
    (UnknownTask, USAGE),
)


def code_for(error: TaskqError) -> int:
    """Return the exit code that tells scripts what kind of error ended a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
