"""Declared queues: what may be said of one, what is refused, and what is learned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq import ConfigError, Queue, Retain, TaskQ
from taskq.errors import InvalidName, InvalidOption
from taskq.tasks.broker import Features, Outgoing
from taskq.tasks.queues import Queues
from taskq.testing import memory

AUDIT = Queue("audit", transport="stream")


def test_a_queue_is_a_list_unless_it_says_otherwise() -> None:
    assert Queue("mail").transport == "list"
    assert Queues().features("mail") == Features()
    assert Queues().retained("mail") == ""


def test_what_is_retained_has_a_default_and_may_be_a_number() -> None:
    assert AUDIT.kept == Retain(10_000, 64 * 1024 * 1024, 86_400)
    assert Queue("audit", transport="stream", retain=5).kept == Retain(count=5)
    assert Retain(7, 8, timedelta(hours=1)).wire() == "7 8 3600000"
    assert Retain.read("7 8 3600000") == Retain(7, 8, 3600.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "a b"}, "queue name 'a b' is not valid"),
        ({"name": "q", "transport": "streams"}, "transport='streams': give list or stream (did you mean 'stream'?)"),
        ({"name": "q", "transport": None}, "queue 'q': transport=None: give list or stream"),
        ({"name": "q", "retain": 5}, "retain= is for transport='stream': a list keeps no history"),
        ({"name": "q", "transport": "stream", "retain": -1}, "retain=-1"),
        ({"name": "q", "transport": "stream", "retain": True}, "retain=True"),
        ({"name": "q", "transport": "stream", "retain": "all"}, "retain='all'"),
    ],
)
def test_wrong_declarations_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises((InvalidOption, InvalidName)) as caught:
        Queue(**options)
    assert text in str(caught.value)


@pytest.mark.parametrize("options", [{"count": -1}, {"bytes": -1}, {"age": -1}, {"age": "1d"}, {"count": 1.5}], ids=str)
def test_wrong_limits_of_history_name_themselves(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(options))):
        Retain(**options)


def test_an_app_knows_its_queues_and_refuses_two_declarations_of_one() -> None:
    app = TaskQ("shop", queues=[AUDIT])
    assert dict(app.queues) == {"audit": AUDIT}
    assert app.declare(Queue("audit", transport="stream")) == AUDIT
    with pytest.raises(ConfigError, match="queue 'audit' is declared twice"):
        app.declare(Queue("audit"))
    assert app.declare(Queue("mail")).transport == "list"


@pytest.mark.parametrize("queues", [AUDIT, "audit", 7, None, ["audit"], [None]], ids=str)
def test_only_lists_of_queues_declare_queues(queues: Any) -> None:
    with pytest.raises(InvalidOption, match=r'Queue\("audit", transport="stream"\)'):
        TaskQ("shop", queues=queues)


def test_what_others_made_a_stream_queue_is_learned_unless_it_is_declared_a_list_queue() -> None:
    queues = Queues()
    queues.learn("audit")
    assert queues.streamed("audit")
    assert not queues.features("audit").priorities
    assert queues.features("audit").replayable
    queues.declare(Queue("mail"))
    with pytest.raises(ConfigError, match=r"queue .mail. is declared a list queue here, but others"):
        queues.learn("mail")
    assert not queues.streamed("mail")


def test_priorities_of_stream_queues_are_refused_by_name() -> None:
    queues = Queues()
    queues.declare(AUDIT)
    urgent = [Outgoing(bytes(16), b"x"), Outgoing(bytes(16), b"x", priority=2)]
    queues.check("mail", urgent)
    queues.check("audit", urgent[:1])
    with pytest.raises(InvalidOption, match="priority=2: queue 'audit' is a stream queue, which has no priorities"):
        queues.check("audit", urgent)


def test_in_memory_a_stream_queue_runs_and_refuses_priorities_too() -> None:
    app = TaskQ("shop", queues=[AUDIT])
    with memory(app) as q:

        @app.task(queue="audit")
        def book(order: int) -> int:
            return order

        handle = book.enqueue(3)
        with pytest.raises(InvalidOption, match="has no priorities"):
            book.options(priority=1).enqueue(4)
        q.run_until_idle()
        assert handle.result() == 3
        assert len(q.enqueued) == 1
