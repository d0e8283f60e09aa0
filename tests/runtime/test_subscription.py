"""Subscriptions: what is published is heard, and what may have been missed is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from taskq.store.connection import AsyncLink
from taskq.store.subscription import Notice
from tests.servers import RealServer

PATIENCE_S = 30


def test_a_subscription_hears_and_says_when_it_may_have_missed_something(server: RealServer) -> None:
    link = server.link()
    ears = link.subscribe("one")
    assert kinds(ears.get(PATIENCE_S)) == ("connected", "", b"")
    link.execute("PUBLISH", "one", b"\xff")
    assert kinds(ears.get(PATIENCE_S)) == ("message", "one", b"\xff")
    ears.add("two")
    assert kinds(ears.get(PATIENCE_S)) == ("connected", "", b"")
    ears.remove("one")
    link.execute("PUBLISH", "one", "unheard")
    link.execute("PUBLISH", "two", "heard")
    assert kinds(ears.get(PATIENCE_S)) == ("message", "two", b"heard")
    link.execute("CLIENT", "KILL", "TYPE", "pubsub")
    assert kinds(ears.get(PATIENCE_S))[0] == "lost"
    assert kinds(ears.get(PATIENCE_S))[0] == "connected"
    link.execute("PUBLISH", "two", "again")
    assert kinds(ears.get(PATIENCE_S)) == ("message", "two", b"again")
    assert ears.get(0.01) is None
    ears.close()
    link.close()


async def test_an_async_subscription_does_the_same(server: RealServer) -> None:
    link = AsyncLink(server.url)
    ears = link.subscribe("one")
    assert kinds(await ears.get(PATIENCE_S)) == ("connected", "", b"")
    listening = asyncio.ensure_future(ears.get(PATIENCE_S))
    await asyncio.sleep(0)
    await ears.add("two")
    assert kinds(await listening) == ("connected", "", b"")
    assert await ears.get(0.01) is None  # a read that was broken off loses nothing
    await link.execute("PUBLISH", "two", "x")
    assert kinds(await ears.get(PATIENCE_S)) == ("message", "two", b"x")
    await link.execute("CLIENT", "KILL", "TYPE", "pubsub")
    assert kinds(await ears.get(PATIENCE_S))[0] == "lost"
    assert kinds(await ears.get(PATIENCE_S))[0] == "connected"
    await ears.aclose()
    await link.aclose()


def kinds(notice: Notice | None) -> tuple[str, str, bytes]:
    assert notice is not None
    return (notice.kind, notice.channel, notice.data)


@pytest.mark.crash
def test_a_subscription_waits_for_a_server_that_is_away(start_server: Callable[..., RealServer]) -> None:
    server = start_server()
    link = server.link()
    ears = link.subscribe("one")
    assert kinds(ears.get(PATIENCE_S))[0] == "connected"
    server.kill9()
    assert kinds(ears.get(PATIENCE_S))[0] == "lost"
    assert ears.get(0.1) is None
    server.restart()
    assert kinds(ears.get(PATIENCE_S))[0] == "connected"
    ears.close()
    link.close()
