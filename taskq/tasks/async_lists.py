"""The producer's half for event loops: the same calls, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from taskq.backoff import pauses
from taskq.errors import BrokerUnavailable, TaskqError
from taskq.store.company import Company
from taskq.store.connection import AsyncLink
from taskq.store.keys import queues as queues_key
from taskq.store.scripts import run_async, run_many_async
from taskq.tasks import calls, stream_calls
from taskq.tasks.broker import Accepted, Found, Outgoing
from taskq.tasks.calls import Limits
from taskq.tasks.lanes import Unconfirmed
from taskq.tasks.lists import Face
from taskq.tasks.queues import Queues
from taskq.tasks.sending import Sending


class AsyncListBroker(Face):
    """Enqueue, cancel and lookup for event loops; `taskq.tasks.broker.Broker` says what each promises.

    A cancelled call may or may not have been accepted; its lane is never used again, so it cannot swallow another call.
    """

    def __init__(
        self,
        link: AsyncLink,
        namespace: str,
        limits: Limits | None = None,
        enqueue_timeout: float = 2.0,
        queues: Queues | None = None,
    ) -> None:
        super().__init__(namespace, limits, enqueue_timeout, queues)
        self.link = link
        self._company: Company[list[Accepted]] = Company(link)

    async def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        if not messages:
            return []
        self.queues.check(queue, messages)
        limit = self.enqueue_timeout if timeout is None else timeout
        tries = pauses(time.monotonic() + limit)
        await self._announce(queue)
        sending = Sending(self.lanes, queue, messages)
        while sending.todo:
            lost = sending.take(await self._send(queue, sending.todo))
            if lost is not None:
                pause = next(tries, None)
                if pause is None:
                    raise sending.unconfirmed(limit, lost) from lost
                await asyncio.sleep(pause)
        return sending.accepted()

    async def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        """Cancel a message: 'cancelled', 'requested' or 'too_late'."""
        return await run_async(self.link, calls.cancel(self.keys(queue), id, self.limits, kill=kill))

    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        """Where messages are and what came of them, in the order of `ids`."""
        found: list[Found] = []
        while len(found) < len(ids):
            part = ids[len(found) : len(found) + calls.LEASE_MESSAGES]
            some = await run_async(self.link, calls.lookup(self.keys(queue), part))
            found += some
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self.link.aclose()

    async def _announce(self, queue: str) -> None:
        if queue in self._known:
            return
        declared = self.queues.get(queue)
        try:
            await self.link.execute("SADD", queues_key(self.namespace), queue)
            if declared is not None:
                await run_async(self.link, stream_calls.declare(self.namespace, declared))
            self._known.add(queue)
        except BrokerUnavailable:
            return  # the enqueue itself meets the same trouble, with its own time limit

    async def _send(self, queue: str, todo: Sequence[Unconfirmed]) -> list[list[Accepted] | TaskqError]:
        answers = await self._send_once(queue, todo)
        if self.relearn(queue, answers, [message for call in todo for message in call.messages]):
            answers = await self._send_once(queue, todo)
        return answers

    async def _send_once(self, queue: str, todo: Sequence[Unconfirmed]) -> list[list[Accepted] | TaskqError]:
        wires = self.wires(queue, todo)
        if len(wires) > 1:
            return await run_many_async(self.link, wires)
        size = sum(len(message.body) for message in todo[0].messages)
        return [await self._company.run(wires[0], size, queue if self.link.url.kind == "cluster" else "")]
