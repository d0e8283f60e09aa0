"""The server's scripts with one rule broken in each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tests.model.store import PRIORITIES, Id, Record, Token
from tests.model.taking import Leased
from tests.model.upkeep import Queue

# -- enqueue


class NoLanes(Queue):
    def lane_says(self, lane: Any, number: int) -> str:
        return "next"


class OnlyWhatLivesIsKnown(Queue):
    def enqueue(self, now: float, lane: Any, number: int, messages: Sequence[Any]) -> Any:
        if all(message.id in self.body for message in messages):
            return tuple(("n", message.id) for message in messages)
        self.lanes[lane] = (number - 1, ())
        return super().enqueue(now, lane, number, messages)


class NoTombstone(Queue):
    def bury_id(self, mid: Id, flags: int, now: float) -> None:
        return None


# -- lease and token


class PopThenRun(Queue):
    def lease(self, now: float, nonce: Any, number: int, token: Token, names: Sequence[str], limit: int) -> Leased:
        answer = super().lease(now, nonce, number, token, names, limit)
        for one in answer[2]:
            del self.body[one.id], self.state[one.id]
        self.forget_token(token)
        return answer


class RepeatedLeaseTakesMore(Queue):
    def lease(self, now: float, nonce: Any, number: int, token: Token, names: Sequence[str], limit: int) -> Leased:
        return self._hand_out(now, nonce, number, token, names, limit, None)


class OnlyNumbersAreKnownAgain(Queue):
    def lease(self, now: float, nonce: Any, number: int, token: Token, names: Sequence[str], limit: int) -> Leased:
        if number > self.workers.get((nonce, "lease"), 0):
            return self._hand_out(now, nonce, number, token, names, limit, None)
        return super().lease(now, nonce, number, token, names, limit)


class RepeatedLeaseGetsNothing(Queue):
    def lease_again(self, token: Token, last: int, due: float | None) -> Leased:
        return 1, due, ()


class DeadChildIsNotRetired(Queue):
    def retire(self, nonce: Any) -> None:
        return None


class TakesFromHolders(Queue):
    """A lease without a deadline check of its own: what is leased stays in its list as well."""

    def trim(self, name: str, count: int) -> None:
        return None


# -- tokens in settling verbs


def without_token(verb: str) -> type[Queue]:
    """That verb takes whatever token the message has now."""

    def blind(self: Queue, now: float, *args: Any) -> Any:
        *op, items = args
        return getattr(Queue, verb)(self, now, *op, tuple(_renamed(self, item) for item in items))

    return type(f"Blind_{verb}", (Queue,), {verb: blind, "__slots__": ()})


def _renamed(queue: Queue, item: Any) -> Any:
    if isinstance(item, tuple):
        return (_renamed(queue, item[0]), item[1])
    record = queue.state.get(item.id)
    if record is None or record.kind != "l":
        return item
    fields = {name: getattr(item, name) for name in item.__slots__}
    return type(item)(**(fields | {"token": record.token}))


class MarksWithoutToken(Queue):
    def extend(self, now: float, tokens: Sequence[Token], marks: Sequence[tuple[Token, Id, int]]) -> Any:
        marks = [(self.state[mid].token if mid in self.state else token, mid, flags) for token, mid, flags in marks]
        return super().extend(now, tokens, marks)


class HeartbeatIsPlainZadd(Queue):
    def push_deadline(self, token: Token, now: float) -> bool:
        self.leases[token] = now + self.settings.lease
        return True


class RepeatedOpIsNew(Queue):
    def op_says(self, verb: str, op: Any) -> Any:
        return None


class TokenOutlivesItsMessages(Queue):
    def drop_from_token(self, token: Token, count: int = 1) -> None:
        self.left[token] -= count


# -- reclaim


class NoLimitOfDeaths(Queue):
    def condemns(self, record: Record, blamed: bool) -> bool:
        return False


class DeadlineNotAskedAgain(Queue):
    def lapsed(self, token: Token, now: float) -> bool:
        return token in self.leases


class RepeatedDeathCountsTwice(Queue):
    def counts_death(self, record: Record) -> bool:
        return True


class EverythingHeldIsBlamed(Queue):
    def blames(self, mid: Id, record: Record, mode: str, started: Collection[Id]) -> bool:
        return True


class SuspectsRunTogether(Queue):
    def home(self, record: Record) -> str:
        return PRIORITIES[record.prio]


class CondemnedIsForgotten(Queue):
    def reclaim(
        self, now: float, nonce: Any, token: Token, mode: str, line: bytes, started: Collection[Id] = ()
    ) -> list[tuple[Id, int, bool]]:
        condemned = super().reclaim(now, nonce, token, mode, line, started)
        if condemned:
            self.leases.pop(token, None)
        return condemned


class RecallTakesWhatRuns(Queue):
    def reclaim(
        self, now: float, nonce: Any, token: Token, mode: str, line: bytes, started: Collection[Id] = ()
    ) -> list[tuple[Id, int, bool]]:
        return super().reclaim(now, nonce, token, mode, line, () if mode == "recall" else started)


class OnceIsForgottenWhenItEnded(Queue):
    def blames(self, mid: Id, record: Record, mode: str, started: Collection[Id]) -> bool:
        return mid in started or (mode == "lapse" and super().blames(mid, record, mode, started))


class OnceIsRunAgain(Queue):
    def condemns(self, record: Record, blamed: bool) -> bool:
        return record.crashes >= self.settings.crashes


# -- unique, cancel, what is left


class UniqueFreedByStale(Queue):
    def ack(self, now: float, op: Any, items: Sequence[Any]) -> Any:
        for item in items:
            if item.id not in self.body:
                self.unique.clear()
        return super().ack(now, op, items)


class UniqueKeptWhenOver(Queue):
    def free_unique(self, mid: Id, record: Record) -> None:
        return None


class UniqueFreedEarly(Queue):
    """A key with a time to live of its own: it may end while its message is there."""

    def extend(self, now: float, tokens: Sequence[Token], marks: Sequence[tuple[Token, Id, int]]) -> Any:
        self.unique.clear()
        return super().extend(now, tokens, marks)


class UniqueNotAsked(Queue):
    def unique_holder(self, digest: Any, claimed: dict[Any, Id], fresh: list[Id]) -> Id | None:
        return None


class CancelTakesFromHolder(Queue):
    def cancel(self, now: float, mid: Id, kill: bool = False) -> str:
        record = self.state.get(mid)
        if record is not None and record.kind == "l":
            del self.body[mid], self.state[mid]
            self.drop_from_token(record.token)
            return "cancelled"
        return super().cancel(now, mid, kill)


class CancelLeavesNoMark(Queue):
    def mark_cancelled(self, mid: Id, record: Record) -> None:
        self.state.pop(mid, None)
        self.delayed.pop(mid, None)


class RequestOutlivesMessage(Queue):
    def settled(self, mid: Id, record: Record, now: float) -> None:
        asked = self.cancels.copy()
        super().settled(mid, record, now)
        self.cancels = asked


class ErrorsOutliveMessage(Queue):
    def ack(self, now: float, op: Any, items: Sequence[Any]) -> Any:
        lines = self.errors.copy()
        answer = super().ack(now, op, items)
        self.errors = lines
        return answer
