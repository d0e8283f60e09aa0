"""Every error of taskq: one tree under `TaskqError`, and two signals that task code raises on purpose.

redis-py's exceptions are translated to these once, in `taskq.store.connection`; nothing else catches them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from taskq.values import duration


class TaskqError(Exception):
    """Root of everything that taskq raises by itself."""


# -- what the person who configures or calls us did ---------------------------------------------------------------


class ConfigError(TaskqError):
    """A setting, a name, a URL or an app path cannot be used; the text names it and the way out."""


class InvalidOption(ConfigError, ValueError):
    """An option of a task or of a call has a value that cannot be meant."""


class InvalidName(ConfigError, ValueError):
    """A queue, task or namespace name is outside the one rule for names."""


class InvalidArguments(TaskqError, TypeError):
    """The arguments of a call do not fit the signature of its task."""


class DuplicateTask(ConfigError):
    """Two functions were registered under one task name."""


class UnknownTask(TaskqError, LookupError):
    """No task of that name is registered in this app."""


class UnknownQueue(ConfigError, LookupError):
    """Nothing was ever enqueued to a queue of that name in this namespace."""


class UnknownTopic(ConfigError, LookupError):
    """There is no topic of that name in this namespace, and nobody here says what it is."""


class UnknownGroup(TaskqError, LookupError):
    """The topic has no such group."""


class UnknownSchedule(ConfigError, LookupError):
    """There is no schedule of that name in this namespace."""


class UnknownMessage(TaskqError, LookupError):
    """There is no trace of that id: never accepted, or forgotten after its time."""


class AppImportError(ConfigError):
    """The app named on the command line or in the settings cannot be imported."""


class LayoutMismatch(ConfigError):
    """The data in Redis has a layout that this release cannot read."""


class EventLoopRunning(TaskqError, RuntimeError):
    """A blocking call was made inside a running event loop; the text names its async twin."""


# -- values and bytes ---------------------------------------------------------------------------------------------


class SerializationError(TaskqError, TypeError):
    """A value cannot be stored; the text names the path to it, like `args[0].user`."""


class PayloadTooLarge(SerializationError):
    """The encoded arguments are above the limit of the app."""


class ResultTooLarge(SerializationError):
    """The encoded return value is above the limit of the task."""


class DecodeError(TaskqError, ValueError):
    """Stored bytes are not a message that taskq wrote."""


class ArgumentsMismatch(TaskqError, TypeError):
    """The arguments in a message do not fit the signature that its task has in this worker (any more)."""


class NewerLayout(DecodeError):
    """The message was written by a newer release; a newer worker must run it."""


# -- the broker ---------------------------------------------------------------------------------------------------


class BrokerError(TaskqError):
    """The broker refused or could not answer.

    `accepted` are the ids that a bulk enqueue had stored before it failed.
    """

    accepted: tuple[str, ...] = ()


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker cannot be reached or is not ready; trying again later may help.

    `sent` is False if there was not even a connection to send the call on, so that it was certainly not carried out.
    """

    sent = True


class BrokerRefused(BrokerError):
    """The broker answered, but will not serve us: wrong password, missing right, wrong type at a key, too old.

    `code` is the first word of its answer, as far as it is a word that we know.
    """

    code = ""


class BrokerFull(BrokerError):
    """The broker is at its memory limit and takes no new messages; queued ones still drain."""


class NoScript(BrokerError):
    """The broker does not know the script of an EVALSHA; it must be loaded, then the call may be repeated."""


class EnqueueUnconfirmed(BrokerUnavailable):
    """The broker did not confirm an enqueue in time: it may or may not have been accepted.

    `id` is the message's id (of the first, when there were many), `ids` all of them that are unconfirmed. Enqueueing
    again with that id from the same process is safe: it is accepted at most once.
    """

    def __init__(self, text: str, ids: tuple[str, ...]) -> None:
        super().__init__(text)
        self.ids = ids

    @property
    def id(self) -> str:
        return self.ids[0]


class PublishUnconfirmed(BrokerUnavailable):
    """The broker did not confirm a publish in time: its records may or may not be in the topic.

    `topic.confirm(error)` sends exactly these again, as often as needed: none is appended twice. `count` is how many.
    """

    def __init__(self, text: str, count: int, rest: object = None) -> None:
        super().__init__(text)
        self.count = count
        self.rest = rest


class PublisherFenced(BrokerError):
    """A newer publisher of the same name has begun, so this one may not publish any more."""


class OutOfOrder(BrokerError):
    """A publisher's number is not the next one, and not one of its last eight."""


class VersionConflict(BrokerError):
    """The key has another version than the append expected, which `version` is; nothing was appended."""

    def __init__(self, text: str, version: int) -> None:
        super().__init__(text)
        self.version = version


class NoOffset(TaskqError, LookupError):
    """A group has no position, or what comes next was removed, and it is to say so instead of choosing (`reset`)."""


class GroupActive(BrokerError):
    """The group has members, so its position is not put from outside unless that is forced."""


class MemberFenced(BrokerError):
    """Another start has taken this member's name, or another owner its partition: what it does counts no more."""


class LeaseLost(BrokerError):
    """The lease of a message ended before its outcome was stored, so the outcome was not stored."""


# -- outcomes that a caller can see -------------------------------------------------------------------------------


class ResultError(TaskqError):
    """A result cannot be given."""


class ResultTimeout(ResultError, TimeoutError):
    """The message was not finished within the time that the caller allowed."""


class ResultUnavailable(ResultError, LookupError):
    """No result is kept: unknown id, expired, or the task keeps none."""


class TaskFailed(ResultError):
    """The task failed for good.

    `type` is the remote exception's class name, `remote_message` its text, `remote_traceback` its traceback as text.
    The class is never rebuilt: names in stored data are never imported.
    """

    def __init__(self, type: str, remote_message: str, remote_traceback: str = "", id: str = "") -> None:
        text = f"{type}: {remote_message}" if remote_message else type
        if remote_traceback:
            text += f"\n\nremote traceback:\n{remote_traceback.rstrip()}"
        super().__init__(text)
        self.type = type
        self.remote_message = remote_message
        self.remote_traceback = remote_traceback
        self.id = id


class TaskExpired(ResultError):
    """The message was not started before its `expires` time."""


class TaskCancelled(ResultError):
    """The message was cancelled; inside a running task, raised to end it."""


class TaskTimeout(TaskqError, TimeoutError):
    """Raised inside a task that ran longer than its `timeout`."""


# -- signals that task code raises on purpose ---------------------------------------------------------------------


class Signal(Exception):
    """Root of what a task raises to steer its own message; never an error of taskq."""


class Retry(Signal):
    """Run this message again `after` seconds (or a timedelta); None takes the delay of the retry policy.

    With `count_attempt=False` the run spends no attempt: for a 429 or a lock that is taken. Raises InvalidOption for an
    `after` that is no duration, which then is what the task fails with.
    """

    def __init__(self, after: float | timedelta | None = None, *, count_attempt: bool = True, reason: str = "") -> None:
        super().__init__(reason or "retry requested by the task")
        if after is not None:
            try:
                duration(after, "after")
            except ValueError as error:
                raise InvalidOption(f"Retry: {error}") from None
        self.after = after
        self.count_attempt = count_attempt
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self), *self.args), vars(self)  # its text is not what it is made of


class Reject(Signal):
    """Dead-letter this message at once, whatever its retry policy says."""

    def __init__(self, reason: str = "rejected by the task") -> None:
        super().__init__(reason)
        self.reason = reason
