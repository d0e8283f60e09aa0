"""What an idle consumer costs the server (statement 18): two commands a second at most, on a cluster too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.events.ordered_kit import Scene, Seen
from tests.servers import RealServer, ServerOptions, need_server

LONG_ENOUGH_S = 4


@pytest.fixture(scope="module", params=[False, True], ids=["single", "cluster"])
def alone(request: pytest.FixtureRequest) -> Iterator[RealServer]:
    """A server on which nobody else does anything; any will do, since what is sent is ours."""
    server = RealServer(need_server(None), ServerOptions(cluster=request.param)).start()
    yield server
    server.close()


@pytest.fixture
def scene(alone: RealServer, namespace: str) -> Iterator[Scene]:
    made = Scene(alone, namespace, partitions=8)
    yield made
    made.close()


def sent(scene: Scene) -> int:
    """How many commands consumers have sent; what runs inside of scripts counts as the script."""
    found = 0
    for line in scene.link.execute("INFO", "commandstats").decode().splitlines():
        name, _, rest = line.removeprefix("cmdstat_").partition(":")
        if name in ("xread", "xreadgroup", "eval", "evalsha"):
            found += int(rest.split(",")[0].removeprefix("calls="))
    return found


def times(scene: Scene) -> int:
    """How many TIMEs there were, less those of scripts, which ask for it once each."""
    calls: dict[str, int] = {}
    for line in scene.link.execute("INFO", "commandstats").decode().splitlines()[1:]:
        calls[line.partition(":")[0]] = int(line.partition("calls=")[2].partition(",")[0])
    return calls.get("cmdstat_time", 0) - calls.get("cmdstat_evalsha", 0) - calls.get("cmdstat_eval", 0)


def costs(scene: Scene, consumers: int = 1) -> None:
    """Look until enough time has passed for a busy consumer to show."""
    before, begun = (sent(scene), times(scene)), time.monotonic()
    scene.until(lambda: time.monotonic() > begun + LONG_ENOUGH_S)
    after, passed = (sent(scene), times(scene)), time.monotonic() - begun
    told = [more - less for less, more in zip(before, after, strict=True)]
    assert sum(told) <= 2 * consumers * (passed + 1), told


def settles(scene: Scene, consumers: int = 1) -> None:
    """Wait until a consumer that polled more and more seldom has come to rest: nothing was sent for a while."""

    def quiet() -> bool:
        before, begun = sent(scene), time.monotonic()
        scene.until(lambda: time.monotonic() > begun + 1)
        return sent(scene) - before <= 2 * consumers * (time.monotonic() - begun + 1)

    scene.until(quiet)


@pytest.mark.parametrize("mode", ["partition", "global"])
def test_s18_an_idle_member_of_an_ordered_group_sends_at_most_two_commands_a_second(scene: Scene, mode: Any) -> None:
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value), session=10.0, mode=mode) as consumer:
        scene.until(lambda: len(consumer.partitions) == 8)
        settles(scene)
        scene.publish(40, keys=20)
        seen.count(40)  # whoever waits for long is woken by each partition
        consumer.pause(0, 1)
        scene.publish(40, begin=40, keys=20)
        settles(scene)
        costs(scene)
        consumer.resume()
        assert sorted(seen.count(80)) == list(range(80))


def test_s18_idle_members_that_look_after_each_other_send_no_more_than_that(scene: Scene) -> None:
    with (
        scene.consumer(Seen().add, session=10.0) as one,
        scene.consumer(Seen().add, session=10.0) as two,
        scene.consumer(Seen().add, session=10.0) as three,
    ):
        scene.until(lambda: sorted(len(member.partitions) for member in (one, two, three)) == [2, 3, 3])
        settles(scene, 3)
        costs(scene, 3)


def test_s18_an_idle_consumer_of_a_shared_group_sends_at_most_two_commands_a_second(scene: Scene) -> None:
    seen = Seen()

    def handler(record: Any) -> None:
        seen.add(record.value)

    with scene.topic.subscribe(handler, group="g", mode="shared", reset="earliest"):
        settles(scene)
        costs(scene)
        scene.publish(40, keys=20)
        assert sorted(seen.count(40)) == list(range(40))


def test_who_waits_in_a_cluster_outlives_an_outage_and_goes_on(start_server: Any, namespace: str) -> None:
    server = start_server(aof=True, cluster=True)
    scene = Scene(server, namespace, partitions=8)
    seen = Seen()
    with scene.consumer(lambda record: seen.add(record.value), session=10.0) as consumer:
        scene.until(lambda: len(consumer.partitions) == 8)
        settles(scene)
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("taskq-wait-")], "they wait"
        server.kill9()
        server.restart()
        scene.until(lambda: published(scene))
        scene.until(lambda: {*range(40)} <= {*seen.items})
    scene.close()


def published(scene: Scene) -> bool:
    try:
        scene.publish(40, keys=20)
    except OSError:
        return False
    return True
