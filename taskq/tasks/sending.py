"""One enqueue on its way: what to send next, what was accepted, what is unconfirmed. No I/O: both faces drive it.

A bulk is several calls, each on a lane of its own, so that none waits for another's answer. After every round trip each
call of it is settled, refused, or sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taskq.errors import BrokerError, BrokerUnavailable, EnqueueUnconfirmed, TaskqError
from taskq.message import id_text
from taskq.tasks import calls
from taskq.tasks.broker import Accepted, Outgoing
from taskq.tasks.lanes import Lane, LanePool, Unconfirmed

BULK_PIPELINE = 4  # calls of one round trip: a thousand messages


class Sending:
    """The messages of one enqueue of one queue; ask `todo` until it is empty, tell `take` what came back."""

    __slots__ = ("_kept", "_lanes", "_messages", "_next", "_parts", "_queue", "_sent", "_told", "error", "todo")

    def __init__(
        self, lanes: LanePool, queue: str, messages: Sequence[Outgoing], begun: Unconfirmed | None = None
    ) -> None:
        self._lanes = lanes
        self._queue = queue
        self._messages = messages
        self._kept: dict[bytes, Accepted] = {}  # by id: what became of calls that were unconfirmed before
        self.error: TaskqError | None = None
        # `begun`, of `alone`, is the only call, and is under way
        again = [_checked(call) for call in lanes.recall(queue, messages)] if begun is None else []
        self._sent = bool(again)  # whether some call may have been executed without our knowing
        if again:
            known = {message.id for call in again for message in call.messages}
            messages = [message for message in messages if message.id not in known]
        self._parts = list(calls.chunks(messages))
        self._told: list[list[Accepted]] = [[] for _ in self._parts]
        self.todo: list[Unconfirmed] = again if begun is None else [begun]
        self._next = len(self.todo) - len(again)
        if not self.todo:
            self._advance()

    def take(self, answers: Sequence[list[Accepted] | TaskqError]) -> BrokerUnavailable | None:
        """Learn the answers to the calls in `todo`; what is in it afterwards is to be sent.

        Returns why calls have to be sent again, None if they go on. Raises the error of a call that was refused, once
        the others of its round are settled.
        """
        again: list[Unconfirmed] = []
        lost: BrokerUnavailable | None = None
        for call, answer in zip(self.todo, answers, strict=True):
            if isinstance(answer, BrokerUnavailable):
                lost, self._sent = answer, self._sent or answer.sent
                again.append(_checked(call) if answer.sent else call)
            elif isinstance(answer, TaskqError):
                self.error = self.error or answer
            elif not answer:
                again.append(self._moved(call))
            else:
                self._settle(call, answer)
        self.todo = again
        if not again:
            if self.error is not None:
                raise self._with_accepted(self.error)
            self._advance()
        return lost

    def accepted(self) -> list[Accepted]:
        """What became of each message, in the order in which they were given."""
        if not self._kept:
            return [item for part in self._told for item in part] if len(self._told) > 1 else self._told[0]
        told = iter([item for part in self._told for item in part])
        return [self._kept.get(message.id) or next(told) for message in self._messages]

    def unconfirmed(self, timeout: float, cause: TaskqError) -> TaskqError:
        """Time is up: keep the calls that have no answer, so that they can be sent again.

        If there was no connection to send any of them on, nothing is in doubt: that error says so.
        """
        if not self._sent:
            return self._with_accepted(
                BrokerUnavailable(f"nothing was enqueued to {self._queue!r} within {timeout:g} s: {cause}")
            )
        for call in self.todo:
            self._lanes.keep(self._queue, call)
        ids = tuple(id_text(message.id) for call in self.todo for message in call.messages)
        return self._with_accepted(
            EnqueueUnconfirmed(
                f"enqueue to {self._queue!r} was not confirmed within {timeout:g} s, so it may or may not have been"
                f" accepted; calling again with id={ids[0]!r} is safe ({cause})",
                ids,
            )
        )

    @staticmethod
    def alone(lanes: LanePool, queue: str, messages: Sequence[Outgoing]) -> Unconfirmed | None:
        """The call of one message, which needs nothing of the rest here if it is accepted at once; None if it does."""
        if len(messages) != 1 or lanes.doubts:
            return None
        lane = lanes.take(queue)
        return Unconfirmed(lane, lane.number + 1, messages, 0)

    def _advance(self) -> None:
        for place in range(self._next, min(self._next + BULK_PIPELINE, len(self._parts))):
            lane = self._lanes.take(self._queue)
            self.todo.append(Unconfirmed(lane, lane.number + 1, self._parts[place], place))
        self._next += len(self.todo)

    def _settle(self, call: Unconfirmed, answer: list[Accepted]) -> None:
        call.lane.number = call.number
        self._lanes.give(self._queue, call.lane)
        if call.place >= 0:
            self._told[call.place] = _created(self._parts[call.place], answer) if self._sent else answer
        else:
            self._kept |= {message.id: item for message, item in zip(call.messages, answer, strict=True)}

    def _moved(self, call: Unconfirmed) -> Unconfirmed:
        """The same messages on a fresh lane: the server knows nothing of the call's number, so it has not taken it.

        It forgets a lane with its data (flushed, restored from before), or while this host was suspended. For the last
        case a call that was sent before is sent with its ids checked.
        """
        moved = Unconfirmed(Lane(), 1, call.messages, call.place)
        return _checked(moved) if self._sent else moved

    def _with_accepted(self, error: TaskqError) -> TaskqError:
        if isinstance(error, BrokerError):
            told = [*self._kept.values(), *(item for part in self._told for item in part)]
            error.accepted = tuple(id_text(item.id) for item in told)
        return error


def _checked(call: Unconfirmed) -> Unconfirmed:
    """A call that may have been executed, with its ids looked at too.

    The lane tells a repeat as long as the server knows it. Once it has forgotten it (restored from before, or this host
    was suspended for long), number 1 would pass for the first call of a new lane; then the ids tell.
    """
    if call.number > 1:
        return call
    return replace(call, messages=[item._replace(explicit=True) for item in call.messages])


def _created(messages: Sequence[Outgoing], answer: Sequence[Accepted]) -> list[Accepted]:
    """An id that we drew and that is found was created by an earlier try of this call, whose answer got lost."""
    return [
        Accepted(item.id, True) if item.id == message.id and not message.explicit else item
        for message, item in zip(messages, answer, strict=True)
    ]
