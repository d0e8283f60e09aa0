"""Rules that every script of shared groups keeps: checks before the first write, a full server drains, repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq.errors import BrokerRefused
from taskq.events import shared_calls as calls
from taskq.events.shared_calls import Settled
from taskq.store.scripts import Call
from tests.lua import shared_stage as stage
from tests.lua.shared_kit import DIED, LEASE_MS, SharedPart
from tests.servers import RealServer

place, part = stage.place, stage.part

BUILDS: dict[str, Callable[[SharedPart], Call[Any]]] = {
    "found": lambda part: calls.found(part.keys, "g", "0-2", move="n", now=part.at),
    "settle": lambda part: calls.settle(
        part.seat(),
        [Settled(b"1-0"), Settled(b"2-0", "r", 5, b"{}"), Settled(b"3-0", "d", 0, b"{}")],
        now=part.at,
    ),
    "take": lambda part: calls.take(part.seat("two.1"), LEASE_MS, 10, DIED, alone=True, now=part.at),
    "extend": lambda part: calls.extend(part.seat(), [b"1-0"], now=part.at),
    "disown": lambda part: calls.disown(part.seat(), leave=True, now=part.at),
    "redrive": lambda part: calls.redrive(part.seat(), [part.letters()[0][0]], 5, now=part.at),
    "look": lambda part: calls.look(part.seat(), now=part.at),
}
builds = pytest.mark.parametrize("verb", BUILDS)


def fill(part: SharedPart) -> None:
    """Something of everything: in flight, waiting, dead, suspect."""
    part.link.execute("FLUSHALL")
    part.number = 0
    part.append(12, key="k")
    part.found()
    part.read(9)
    part.settle(4, verb="d", line=b"{}")
    part.settle(5, verb="r", line=b"{}")
    part.settle(6, verb="g")
    for before, after in (("one.1", "x.1"), ("x.1", "y.1")):
        part.age(7, consumer=before)
        part.run(calls.take(part.seat(after), LEASE_MS, 1, DIED, alone=False, now=part.at))
    part.age(8, 9)


@builds
def test_a_wrong_type_at_any_key_is_told_before_anything_is_written(part: SharedPart, verb: str) -> None:
    fill(part)
    for key in BUILDS[verb](part).keys:
        if key == part.keys.none:
            continue
        fill(part)
        call = BUILDS[verb](part)
        part.link.execute("DEL", key)
        part.link.execute("SADD", key, "not ours")
        if key == part.keys.log:
            part.link.execute("DEL", key)
            part.link.execute("SET", key, "not ours")
            before: Any = None
        else:
            before = part.dump()
        with pytest.raises(BrokerRefused, match="holds data of another type"):
            part.run(call)
        assert before is None or part.dump() == before, key


@builds
def test_a_full_server_lets_it_run_to_its_end(part: SharedPart, place: RealServer, verb: str) -> None:
    if place.options.cluster:
        pytest.skip("a full server refuses every script that begins with #!lua")
    fill(part)
    part.run(BUILDS[verb](part))
    expected = settled_state(part)
    fill(part)
    call = BUILDS[verb](part)
    part.link.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        part.run(call)
    finally:
        part.link.execute("CONFIG", "SET", "maxmemory", "0")
    assert settled_state(part) == expected


def settled_state(part: SharedPart) -> Any:
    dump = part.dump()
    letters = [fields for _, fields in dump.pop("group:g:dead", [])]
    return dump, letters


@builds
def test_a_script_that_is_sent_again_changes_nothing_more(part: SharedPart, verb: str) -> None:
    fill(part)
    call = BUILDS[verb](part)
    part.run(call)
    once = part.dump()
    part.run(call)
    if verb == "take":  # asked again with room left, it goes on with what else is due
        assert part.run(call).rows == ()
    else:
        assert part.dump() == once
