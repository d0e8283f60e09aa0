"""A rolling deploy: an old and a new worker side by side, with different tasks and different data layouts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.message import encode, new_ids
from taskq.tasks.broker import Outgoing
from tests.runtime.world import World, world
from tests.servers import RealServer

LATER_RELEASE = str(Path(__file__).parent / "next_release")


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[World]:
    with world(server, namespace) as one:
        yield one


def of_layout_2(here: World, tag: str) -> bytes:
    """A message as the later release writes it."""
    message = new_ids(1)[0]
    body = encode("tests.runtime.guarded.quick", [tag], {}, int(time.time() * 1000))
    here.broker.enqueue("work", [Outgoing(message, b"\x02" + body[1:])])
    return message


def test_old_and_new_workers_run_what_is_theirs_and_lose_nothing(here: World) -> None:
    old = here.worker("-c", "2")
    new_only = [here.enqueue("added", f"added{n}") for n in range(3)]
    newer = [of_layout_2(here, f"newer{n}") for n in range(3)]
    for message in [*new_only, *newer]:
        here.until_state(message, "p")
    both = [here.enqueue("quick", f"both{n}") for n in range(5)]
    path = os.pathsep.join([LATER_RELEASE, here.env["PYTHONPATH"]])
    new = here.worker("-c", "2", app="tests.runtime.guarded_next:app", PYTHONPATH=path)
    for message in [*both, *new_only, *newer]:
        assert here.until_state(message, "o").result[:1] == b"d"
    here.open_gate("g")
    old_only = [here.enqueue("gated", f"gone{n}", here.gate("g")) for n in range(3)]
    for message in old_only:
        assert here.until_state(message, "o").result[:1] == b"d"
    ran = {one.tag: one.pid for one in here.heard if one.word == "start"}
    assert {ran[f"added{n}"] for n in range(3)} | {ran[f"newer{n}"] for n in range(3)} == set(new.children)
    assert {ran[f"gone{n}"] for n in range(3)} == set(old.children)
    starts = [one.tag for one in here.heard if one.word == "start"]
    assert len(starts) == len(set(starts)) == 14
    assert "parked" in old.text()
