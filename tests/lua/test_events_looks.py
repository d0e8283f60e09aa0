"""Looks at groups change nothing, move no values and are exact (102); what commits count only grows (103)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.errors import BrokerRefused
from taskq.events.group_calls import Standing, look
from taskq.events.shared_calls import Seat
from taskq.events.shared_calls import look as shared_look
from taskq.store.connection import SyncLink
from taskq.store.scripts import run
from tests.lua.group_kit import GROUP, Share, at
from tests.lua.shared_kit import SharedPart
from tests.servers import RealServer


@pytest.fixture
def link(server: RealServer) -> Iterator[SyncLink]:
    one = server.link()
    yield one
    one.close()


@pytest.fixture
def share(link: SyncLink, namespace: str) -> Share:
    return Share(link, namespace)


def seen(share: Share) -> Standing:
    return run(share.link, look(share.keys, GROUP, str(share.now)))


def test_s102_an_ordered_group_is_told_with_its_lag_and_its_oldest_record(share: Share) -> None:
    nothing = seen(share)
    assert (nothing.end, nothing.oldest, nothing.at, nothing.letters) == (0, "", "0-0", 0)
    ids = share.append(5)
    share.begin()
    share.claim(7, member="one")
    share.commit(at(ids[1], 2), ("d", b"{}", b"body"), ("h", "digest", 50), ("p", "retried", 2))
    told = seen(share)
    assert (told.end, told.end_bytes, told.number, told.bytes) == (5, 50, 2, 20)
    assert (told.at, told.oldest, told.now) == (ids[1], ids[2], share.now)
    assert (told.owner, told.epoch, told.letters, told.parked) == ("one", 7, 1, 1)
    assert (told.done, told.retried, told.dead, told.lost) == (2, 2, 1, 0)


def test_s103_what_a_group_was_done_with_grows_with_commits_alone(share: Share) -> None:
    ids = share.append(4)
    share.begin()
    share.claim(1)
    share.commit(at(ids[1], 2))
    assert share.commit(at(ids[1], 2), number=share.number, before=at("0-0", 0, 0)).code == 0, "a repeat"
    assert seen(share).done == 2
    share.seek("start")
    share.claim(9)
    assert (seen(share).number, seen(share).done) == (0, 2), "a seek does nothing, and takes nothing back"
    share.commit(at(ids[3], 4))
    assert seen(share).done == 6


def test_s103_a_refused_commit_counts_nothing(share: Share) -> None:
    ids = share.append(2)
    share.begin()
    share.claim(1)
    assert share.commit(at(ids[0], 1), owner=(0, "b" * 16)).code == 1
    assert seen(share).done == 0


def test_a_look_at_an_ordered_group_writes_nothing_and_moves_no_value(share: Share) -> None:
    ids = share.append(3, size=100_000)
    share.begin()
    share.claim(1)
    share.commit(at(ids[0], 1))
    before = share.dump()
    reply = share.link.execute(*look(share.keys, GROUP).full_command())
    assert share.dump() == before
    assert len(repr(reply)) < 1_000


def test_a_group_whose_next_records_were_trimmed_is_told_by_the_first_that_is_left(share: Share) -> None:
    ids = share.append(5)
    share.begin()
    share.link.execute("XTRIM", share.keys.log, "MINID", ids[3])
    assert (seen(share).oldest, seen(share).end - seen(share).number) == (ids[3], 5)


def test_a_key_of_another_type_is_an_error(share: Share) -> None:
    share.link.execute("SET", share.keys.group(GROUP), "x")
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        seen(share)


def test_a_shared_group_is_found_whatever_epoch_is_asked_for(link: SyncLink, namespace: str) -> None:
    part = SharedPart(link, namespace)
    part.append(3)
    part.found()
    part.found(move="n1")
    for epoch in (0, 1, 2, 9):
        standing = run(link, shared_look(Seat(part.keys, part.seat().group, epoch, "operator")))
        assert (standing.there, standing.unread, standing.counts["epoch"]) == (True, 3, "2")
    link.execute("XGROUP", "DESTROY", part.keys.log, f"{part.seat().group}:2")
    assert not run(link, shared_look(Seat(part.keys, part.seat().group, 2, "operator"))).there
