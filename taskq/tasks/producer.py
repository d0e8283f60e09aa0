"""The way of calls to the broker: middleware, encoding, enqueueing, and what the caller gets back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from taskq.errors import BrokerError
from taskq.loops import warn_of_blocking
from taskq.message import new_ids
from taskq.middleware import Middlewares
from taskq.options import TaskOptions
from taskq.tasks.batch import Batch
from taskq.tasks.broker import Accepted
from taskq.tasks.brokers import Brokers, Ends
from taskq.tasks.bulk import Bulk, Item, calls_of, items_of, one_more, rows_of
from taskq.tasks.handle import Handle
from taskq.tasks.outgoing import Call, Stamp, Target, now_ms


class Request:
    """A call on its way in, as `enqueue` middleware sees it: before its arguments are encoded.

    A middleware may put other `args`, `kwargs` or `options` in place (`options.merge(...)` gives changed ones).
    """

    __slots__ = ("_stamp", "args", "kwargs", "options", "task")

    def __init__(self, stamp: Stamp, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._stamp = stamp
        self.task = stamp.target.name
        self.args = args
        self.kwargs = dict(kwargs)
        self.options: TaskOptions = stamp.options

    def call(self) -> Call[Any]:
        """The call as the middlewares left it."""
        return Call(self._stamp.with_options(self.options), self.args, self.kwargs)


class ManyRequest:
    """A bulk on its way in, as `enqueue_many` middleware sees it: before any of its calls was looked at.

    `items` are calls, or tuples of arguments for the task that the bulk is of.
    """

    __slots__ = ("_stamp", "items")

    def __init__(self, stamp: Stamp | None, items: list[Any]) -> None:
        self._stamp = stamp
        self.items = items

    @property
    def queues(self) -> set[str]:
        """Where its calls go, as far as that is known before their own middleware."""
        found = {item.queue for item in self.items if isinstance(item, Call)}
        if self._stamp is not None and any(isinstance(item, tuple) for item in self.items):
            found.add(self._stamp.queue)
        return found

    def bulk(self) -> tuple[Stamp | None, list[Any]]:
        """What is to be encoded."""
        return self._stamp, self.items


class Producer:
    """Enqueues for one app, from threads and from event loops."""

    def __init__(self, brokers: Brokers, middlewares: Middlewares) -> None:
        self.brokers = brokers
        self.middlewares = middlewares

    def send(self, stamp: Stamp, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Handle[Any]:
        """Enqueue one call."""
        warn_of_blocking("enqueue", "aenqueue")
        store = self._store
        handler = self.middlewares.wrap("enqueue", store)
        return self._put(stamp, args, kwargs) if handler is store else handler(Request(stamp, args, kwargs))

    async def asend(self, stamp: Stamp, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Handle[Any]:
        """`send` in an event loop."""
        store = self._astore
        handler = self.middlewares.wrap("enqueue", store)
        return await (self._aput(stamp, args, kwargs) if handler is store else handler(Request(stamp, args, kwargs)))

    def send_many(self, stamp: Stamp | None, items: Iterable[Item]) -> Batch[Any]:
        """Enqueue many calls, encoded before the first of them is sent; tuples are calls of `stamp` by position.

        A failure midway has the ids of what was stored in its `accepted`.
        """
        warn_of_blocking("enqueue_many", "aenqueue_many")
        return self.middlewares.wrap("enqueue_many", self._store_many)(ManyRequest(stamp, items_of(items)))

    async def asend_many(self, stamp: Stamp | None, items: Iterable[Item]) -> Batch[Any]:
        """`send_many` in an event loop."""
        return await self.middlewares.wrap("enqueue_many", self._astore_many)(ManyRequest(stamp, items_of(items)))

    def _store_many(self, request: ManyRequest) -> Batch[Any]:
        ends, bulk = self.brokers.ends(), self._bulk(*request.bulk())
        bulk.check(self.brokers.queues)
        for queue, places, messages in bulk.parts():
            try:
                bulk.note(places, ends.broker.enqueue(queue, messages))
            except BrokerError as error:
                bulk.told(error)
                raise
        return Batch(ends, bulk.accepted(), bulk.stamps)

    async def _astore_many(self, request: ManyRequest) -> Batch[Any]:
        ends, bulk = self.brokers.ends(), await self._abulk(*request.bulk())
        bulk.check(self.brokers.queues)
        for queue, places, messages in bulk.parts():
            try:
                bulk.note(places, await ends.async_broker.enqueue(queue, messages))
            except BrokerError as error:
                bulk.told(error)
                raise
        return Batch(ends, bulk.accepted(), bulk.stamps)

    def _put(self, stamp: Stamp, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Handle[Any]:
        ends, queue = self.brokers.ends(), stamp.options.queue
        message = stamp.outgoing(new_ids(1)[0], args, kwargs, now_ms())
        accepted = ends.broker.enqueue(queue, (message,))[0]
        task = ends.task_of(queue, accepted.id) if stamp.explicit and not accepted.created else ""
        return _handle(ends, stamp, accepted, task)

    async def _aput(self, stamp: Stamp, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Handle[Any]:
        ends, queue = self.brokers.ends(), stamp.options.queue
        message = stamp.outgoing(new_ids(1)[0], args, kwargs, now_ms())
        accepted = (await ends.async_broker.enqueue(queue, (message,)))[0]
        task = await ends.atask_of(queue, accepted.id) if stamp.explicit and not accepted.created else ""
        return _handle(ends, stamp, accepted, task)

    def _store(self, request: Request) -> Handle[Any]:
        call = request.call()
        return self._put(call.stamp, call.args, call.kwargs or {})

    async def _astore(self, request: Request) -> Handle[Any]:
        call = request.call()
        return await self._aput(call.stamp, call.args, call.kwargs or {})

    def _bulk(self, stamp: Stamp | None, given: list[Any]) -> Bulk:
        taken: list[Call[Any]] = []

        def take(request: Request) -> None:
            taken.append(request.call())

        handler = self.middlewares.wrap("enqueue", take)
        if handler is take:
            return _encoded(stamp, given)
        for place, call in enumerate(calls_of(stamp, given)):
            handler(Request(call.stamp, call.args, call.kwargs or {}))
            one_more(taken, place)
        return Bulk.of_calls(taken)

    async def _abulk(self, stamp: Stamp | None, given: list[Any]) -> Bulk:
        taken: list[Call[Any]] = []

        async def take(request: Request) -> None:
            taken.append(request.call())

        handler = self.middlewares.wrap("enqueue", take)
        if handler is take:
            return _encoded(stamp, given)
        for place, call in enumerate(calls_of(stamp, given)):
            await handler(Request(call.stamp, call.args, call.kwargs or {}))
            one_more(taken, place)
        return Bulk.of_calls(taken)


def _handle(ends: Ends, stamp: Stamp, accepted: Accepted, task: str) -> Handle[Any]:
    """The handle of what counts; `task` is whose message was there before, if that can be said."""
    target = stamp.target if task in ("", stamp.target.name) else Target(task)
    return Handle(ends, stamp.options.queue, accepted.id, accepted.created, target)


def _encoded(stamp: Stamp | None, given: list[Item]) -> Bulk:
    rows = None if stamp is None else rows_of(given)
    return Bulk.of_calls(calls_of(stamp, given)) if stamp is None or rows is None else Bulk.of_rows(stamp, rows)
