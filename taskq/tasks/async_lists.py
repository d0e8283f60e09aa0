"""The producer's half of the list transport for event loops: the same calls, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from taskq.errors import BrokerError, BrokerUnavailable, TaskqError
from taskq.message import id_text
from taskq.store.connection import AsyncLink
from taskq.store.keys import queues as queues_key
from taskq.store.scripts import run_async, run_many_async
from taskq.tasks import calls
from taskq.tasks.broker import Accepted, Found, Outgoing
from taskq.tasks.calls import Limits
from taskq.tasks.lanes import Unconfirmed
from taskq.tasks.lists import BULK_PIPELINE, Face, pauses


class AsyncListBroker(Face):
    """Enqueue, cancel and lookup for event loops; `taskq.tasks.broker.Broker` says what each promises.

    A cancelled call may or may not have been accepted; its lane is never used again, so it cannot swallow another call.
    """

    def __init__(
        self, link: AsyncLink, namespace: str, limits: Limits | None = None, enqueue_timeout: float = 2.0
    ) -> None:
        super().__init__(namespace, limits, enqueue_timeout)
        self.link = link

    async def enqueue(self, queue: str, messages: Sequence[Outgoing], timeout: float | None = None) -> list[Accepted]:
        if not messages:
            return []
        deadline = time.monotonic() + (self.enqueue_timeout if timeout is None else timeout)
        await self._announce(queue)
        parts = list(calls.chunks(messages))
        if len(parts) == 1:
            return await self._enqueue_part(queue, self.again(queue, parts[0]), deadline)
        accepted: list[Accepted] = []
        for start in range(0, len(parts), BULK_PIPELINE):
            accepted += await self._enqueue_parts(queue, parts[start : start + BULK_PIPELINE], deadline)
        return accepted

    async def cancel(self, queue: str, id: bytes, *, kill: bool = False) -> str:
        """Cancel a message: 'cancelled', 'requested' or 'too_late'."""
        return await run_async(self.link, calls.cancel(self.keys(queue), id, self.limits, kill=kill))

    async def lookup(self, queue: str, ids: Sequence[bytes]) -> list[Found]:
        """Where messages are and what came of them, in the order of `ids`."""
        keys = self.keys(queue)
        found: list[Found] = []
        for start in range(0, len(ids), calls.LEASE_MESSAGES):
            found += await run_async(self.link, calls.lookup(keys, ids[start : start + calls.LEASE_MESSAGES]))
        return found

    async def aclose(self) -> None:
        """Close the connections."""
        await self.link.aclose()

    async def _announce(self, queue: str) -> None:
        if queue in self._known:
            return
        try:
            await self.link.execute("SADD", queues_key(self.namespace), queue)
            self._known.add(queue)
        except BrokerUnavailable:
            return  # the enqueue itself meets the same trouble, with its own time limit

    async def _enqueue_part(self, queue: str, call: Unconfirmed, deadline: float) -> list[Accepted]:
        wire = calls.enqueue(self.keys(queue), call.lane.nonce, call.number, call.messages, self.limits)
        tries = pauses(deadline)
        while True:
            try:
                accepted = await run_async(self.link, wire)
            except BrokerUnavailable as error:
                pause = next(tries, None)
                if pause is None:
                    raise self.unconfirmed(queue, call, error) from error
                await asyncio.sleep(pause)
            else:
                self.confirm(queue, call)
                return accepted

    async def _enqueue_parts(self, queue: str, parts: Sequence[Sequence[Outgoing]], deadline: float) -> list[Accepted]:
        todo = [self.again(queue, part) for part in parts]
        keys = self.keys(queue)
        wires = [calls.enqueue(keys, call.lane.nonce, call.number, call.messages, self.limits) for call in todo]
        try:
            replies = await run_many_async(self.link, wires)
        except BrokerUnavailable:
            return [item for call in todo for item in await self._enqueue_part(queue, call, deadline)]
        accepted: list[Accepted] = []
        for call, reply in zip(todo, replies, strict=True):
            if isinstance(reply, BrokerUnavailable):
                reply = await self._enqueue_part(queue, call, deadline)
            elif isinstance(reply, TaskqError):
                if isinstance(reply, BrokerError):
                    reply.accepted = tuple(id_text(item.id) for item in accepted)
                raise reply
            else:
                self.confirm(queue, call)
            accepted += reply
        return accepted
