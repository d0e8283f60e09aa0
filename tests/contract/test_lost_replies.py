"""Calls that are executed and whose replies get lost: sent again, they change nothing and get the first answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskq.clock import ManualClock
from taskq.errors import BrokerFull, BrokerRefused, BrokerUnavailable, EnqueueUnconfirmed
from taskq.message import id_text
from taskq.tasks.broker import Accepted, Outgoing
from taskq.tasks.lists import ListBroker
from tests.contract.conftest import Server, announce, declared, need_priorities
from tests.contract.scene import LIMITS, QUEUE, Scene, TimedLink, buried, done, held, message, number_of, retried
from tests.servers import declared_keys


class LossyLink(TimedLink):
    """A link on which some replies of scripts get lost after the server has executed them; `lose` numbers the calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sent = 0
        self.lose: set[int] = set()
        self.then: Callable[[], None] | None = None  # what happens once, with the first reply that gets lost

    def losing(self, *numbers: int) -> None:
        """Lose the replies of the calls with these numbers, the next one being 1; numbers below 1 lose nothing."""
        self.sent, self.lose = 0, set(numbers)

    def execute(self, *args: Any, timeout: float | None = None) -> Any:
        reply = super().execute(*args, timeout=timeout)
        if str(args[0]) in ("EVAL", "EVALSHA"):
            self.sent += 1
            if self.sent in self.lose:
                then, self.then = self.then, None
                if then is not None:
                    then()
                raise BrokerUnavailable("the reply got lost")
        return reply

    def pipeline(self, commands: Sequence[Sequence[Any]], *, timeout: float | None = None) -> list[Any]:
        replies = super().pipeline(commands, timeout=timeout)
        for index in range(len(replies)):
            self.sent += 1
            if self.sent in self.lose:  # with one reply all later ones of the connection are lost
                return replies[:index] + [BrokerUnavailable("the reply got lost")] * (len(replies) - index)
        return replies


class Lossy(Scene):
    link: LossyLink


@pytest.fixture
def scene(request: pytest.FixtureRequest, lists: str, server_of: Server, namespace: str) -> Iterator[Lossy]:
    need_priorities(request, lists)
    clock, server = ManualClock(), server_of(lists)
    link = LossyLink(server.tcp_url if server.options.cluster else server.url)
    link.clock = clock
    broker = ListBroker(link, namespace, LIMITS, queues=declared(lists))
    with declared_keys(server):
        announce(broker)
        scene = Lossy(broker, clock)
        scene.link = link
        yield scene
    broker.close()


def until_answered(call: Any) -> Any:
    """What a worker does: the same call, again and again."""
    for _ in range(5):
        try:
            return call()
        except BrokerUnavailable:
            continue
    raise AssertionError("no answer after five tries")


SINGLES = {
    "plain": [message(1)],
    "delayed": [message(1, due=-5)],
    "unique": [message(1, unique=b"u" * 16)],
    "explicit": [message(1, explicit=True)],
    "several": [message(number) for number in range(10)],
}
losses = pytest.mark.parametrize("lose", [(1,), (2,), (1, 2), (1, 2, 3)], ids=str)


@losses
@pytest.mark.parametrize("messages", SINGLES.values(), ids=SINGLES)
def test_an_enqueue_is_one_message_however_often_its_reply_is_lost(
    scene: Lossy, messages: list[Outgoing], lose: tuple[int, ...]
) -> None:
    scene.link.losing(*lose)
    assert scene.enqueue(*messages) == [Accepted(item.id, True) for item in messages]
    assert [item.created for item in scene.enqueue(message(99))] == [True]
    scene.pass_ms(5)
    scene.broker.promote(QUEUE)
    assert Counter(scene.worker.numbers(50)) == Counter([number_of(item.id) for item in messages] + [99])


@pytest.mark.parametrize("lose", range(1, 8))
def test_a_bulk_is_accepted_once_whichever_reply_is_lost(scene: Lossy, lose: int) -> None:
    messages = [message(number) for number in range(1600)]
    scene.link.losing(lose, lose + 3)
    accepted = scene.enqueue(*messages)
    assert accepted == [Accepted(item.id, True) for item in messages]
    scene.link.losing()
    taken: list[int] = []
    while numbers := scene.worker.numbers(250):
        taken += numbers
    assert sorted(taken) == list(range(1600))


def test_an_unconfirmed_enqueue_can_be_repeated_and_is_still_one_message(scene: Lossy) -> None:
    scene.enqueue(message(0))  # the scripts are known and a lane is in use
    scene.link.losing(*range(1, 100))
    with pytest.raises(EnqueueUnconfirmed) as caught:
        scene.broker.enqueue(QUEUE, [message(1)], 0.0)
    assert caught.value.id == id_text(message(1).id)
    scene.link.losing()
    scene.enqueue(message(2))
    assert scene.enqueue(message(1, explicit=True)) == [Accepted(message(1).id, True)]
    assert scene.worker.numbers() == [0, 1, 2]


def test_a_part_of_an_unconfirmed_bulk_can_be_repeated_among_others(scene: Lossy) -> None:
    scene.link.losing(*range(1, 100))
    with pytest.raises(EnqueueUnconfirmed) as caught:
        scene.broker.enqueue(QUEUE, [message(number) for number in range(3)], 0.0)
    assert caught.value.ids == tuple(id_text(message(number).id) for number in range(3))
    scene.link.losing()
    accepted = scene.enqueue(message(7), message(1, explicit=True), message(8))
    assert accepted == [Accepted(message(number).id, True) for number in (7, 1, 8)]
    assert sorted(scene.worker.numbers()) == [0, 1, 2, 7, 8]


def test_a_bulk_that_ends_midway_tells_what_was_accepted_and_what_is_unconfirmed(scene: Lossy) -> None:
    messages = [message(number) for number in range(1750)]
    scene.enqueue(message(9999))
    scene.link.losing(*range(6, 100))  # the first four parts go out together, then the fifth; the sixth is lost
    with pytest.raises(EnqueueUnconfirmed) as caught:
        scene.broker.enqueue(QUEUE, messages, 0.0)
    assert caught.value.accepted == tuple(id_text(item.id) for item in messages[:1250])
    assert caught.value.ids == tuple(id_text(item.id) for item in messages[1250:])
    scene.link.losing()
    assert all(item.created for item in scene.enqueue(*messages[1250:]))
    taken: list[int] = []
    while numbers := scene.worker.numbers(250):
        taken += numbers
    assert sorted(taken) == [*range(1750), 9999]


def test_a_bulk_that_no_longer_fits_tells_what_was_accepted(scene: Lossy) -> None:
    broker = scene.broker
    assert isinstance(broker, ListBroker)
    scene.enqueue(message(9999))
    keys = broker.keys(QUEUE)
    messages = [message(number, due=-60_000 if number >= 500 else 0) for number in range(1000)]
    scene.link.execute("SET", keys.delayed, "not ours")
    with pytest.raises(BrokerRefused, match="another type") as caught:
        scene.enqueue(*messages)
    assert caught.value.accepted == tuple(id_text(item.id) for item in messages[:500])
    scene.link.execute("DEL", keys.delayed)
    assert len(scene.worker.take(250)) + len(scene.worker.take(250)) + len(scene.worker.take(250)) == 501


def test_a_lane_that_the_server_forgot_fails_nobody(scene: Lossy) -> None:
    scene.enqueue(message(1))
    broker = scene.broker
    assert isinstance(broker, ListBroker)
    for key in scene.link.execute("KEYS", broker.keys(QUEUE).base + "lane:*"):
        scene.link.execute("DEL", key)
    assert scene.enqueue(message(2)) == [Accepted(message(2).id, True)]
    assert scene.enqueue(message(3)) == [Accepted(message(3).id, True)]
    assert scene.worker.numbers() == [1, 2, 3]


@pytest.mark.parametrize("messages", SINGLES.values(), ids=SINGLES)
def test_a_first_call_whose_reply_and_lane_are_both_lost_is_still_one_message(
    scene: Lossy, messages: list[Outgoing]
) -> None:
    broker = scene.broker
    assert isinstance(broker, ListBroker)

    def forget() -> None:
        for key in scene.link.execute("KEYS", broker.keys(QUEUE).base + "lane:*"):
            scene.link.execute("DEL", key)

    scene.link.losing(1)
    scene.link.then = forget
    assert scene.enqueue(*messages) == [Accepted(item.id, not item.explicit) for item in messages]
    assert scene.link.then is None, "no reply was lost"
    scene.pass_ms(5)
    scene.broker.promote(QUEUE)
    assert sorted(scene.worker.numbers(50)) == [number_of(item.id) for item in messages]


def test_a_bulk_that_is_sent_again_tells_who_holds_a_unique_key(scene: Lossy) -> None:
    one, two = message(1, unique=b"u" * 16), message(2, unique=b"u" * 16)
    scene.link.losing(1)
    assert scene.enqueue(one, two) == [Accepted(one.id, True), Accepted(one.id, False)]


def test_a_full_server_is_told_at_once_and_stores_nothing(scene: Lossy, lists: str) -> None:
    scene.enqueue(message(1))
    scene.link.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        if "cluster-" in lists:
            pytest.skip("scripts with a #! line do not run at all on a full server")
        with pytest.raises(BrokerFull, match="maxmemory"):
            scene.enqueue(message(2))
        with pytest.raises(BrokerFull, match="maxmemory"):
            scene.enqueue(*(message(number) for number in range(10, 900)))
        assert scene.worker.numbers() == [1]
    finally:
        scene.link.execute("CONFIG", "SET", "maxmemory", "0")
    assert scene.enqueue(message(2)) == [Accepted(message(2).id, True)]


# -- a worker's calls


@losses
def test_a_lease_whose_reply_is_lost_gets_the_same_messages(scene: Lossy, lose: tuple[int, ...]) -> None:
    scene.enqueue(*(message(number) for number in range(4)))
    ticket = scene.worker.seat.ticket(QUEUE)
    scene.link.losing(*lose)
    leased = until_answered(lambda: scene.broker.lease(QUEUE, ticket, 2))
    assert [number_of(delivery) for delivery in leased.deliveries] == [0, 1]
    scene.link.losing()
    assert scene.worker.numbers() == [2, 3]


@losses
@pytest.mark.parametrize("verb", ["ack", "nack", "dead_letter", "release", "park", "extend"])
def test_settling_happens_once_however_often_the_reply_is_lost(scene: Lossy, verb: str, lose: tuple[int, ...]) -> None:
    broker, worker = scene.broker, scene.worker
    scene.enqueue(message(1), message(2))
    one, two = worker.take()
    ack, nack, bury = worker.op("ack"), worker.op("nack"), worker.op("bury")
    calls = {
        "ack": lambda: broker.ack(QUEUE, [done(one, b"d1")], ack),
        "nack": lambda: broker.nack(QUEUE, [retried(one, 5, line=b"{}")], nack),
        "dead_letter": lambda: broker.dead_letter(QUEUE, [buried(one)], bury),
        "release": lambda: broker.release(QUEUE, [held(one)]),
        "park": lambda: broker.park(QUEUE, [(held(one), "t")]),
        "extend": lambda: broker.extend(QUEUE, [one.token]).lost,
    }
    scene.link.losing(*lose)
    answer = until_answered(calls[verb])
    scene.link.losing()
    # A repeat of release or park finds no lease any more, and says so; nothing is changed by it.
    repeated = verb in ("release", "park") and 1 in lose
    assert answer == ([one.id] if repeated else [])
    assert scene.ack(two) == []
    found = scene.find(one.id)
    expected = {"ack": "o", "nack": "d", "dead_letter": "x", "release": "r", "park": "p", "extend": "l"}
    assert found.state == expected[verb]
    assert found.attempts == (verb == "nack")
    assert found.lines.count(b"\n") == 0
