"""Membership of ordered groups: who is there, who owns which partition, and what moves when somebody comes or goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.errors import BrokerRefused
from tests.lua.group_kit import GROUP, SESSION_MS, Group
from tests.servers import RealServer


@pytest.fixture
def group(server: RealServer, namespace: str) -> Iterator[Group]:
    link = server.link()
    yield Group(link, namespace)
    link.close()


def test_the_first_member_gets_all_and_a_repeated_join_changes_nothing(group: Group) -> None:
    first = group.beat("a", "join", held=set())
    assert set(first.owned) == set(range(8))
    assert (first.code, len(first.leaving), len(first.waiting), first.members) == (0, 0, 0, 1)
    assert len(set(first.owned.values())) == 1
    again = group.beat("a", "join")
    assert again.owned == first.owned
    assert again.epoch == first.epoch


def test_s21_shares_differ_by_one_at_most_and_as_few_partitions_as_possible_move(group: Group) -> None:
    group.partitions = 10
    members: list[str] = []
    before: dict[str, set[int]] = {}
    for name in "abcdef":
        members.append(name)
        after = group.settle(*members)
        sizes = [len(mine) for mine in after.values()]
        assert sum(sizes) == 10
        assert max(sizes) - min(sizes) <= 1
        if before:
            stayed = sum(len(mine & after[member]) for member, mine in before.items())
            assert stayed == 10 - len(after[name]), "only what the new member gets has moved"
        before = after
    group.beat("c", "leave")
    left = group.settle(*"abdef")
    assert sorted(len(mine) for mine in left.values()) == [2] * 5
    assert all(before[member] <= left[member] for member in left)


def test_s20_only_what_moves_is_given_up_and_nobody_is_granted_what_another_holds(group: Group) -> None:
    first = group.beat("a")
    joined = group.beat("b")
    assert joined.owned == {}
    assert len(joined.waiting) == 4
    told = group.beat("a")
    assert told.leaving == joined.waiting
    assert {p: first.owned[p] for p in told.owned} == told.owned, "what stays keeps its epoch"
    still = group.beat("b")
    assert still.owned == {}, "the old owner has not said yet that it let go"
    group.beat("a", held=set(told.owned))
    granted = group.beat("b")
    assert set(granted.owned) == joined.waiting
    assert min(granted.owned.values()) > max(first.owned.values())


def test_s22_what_a_member_leaves_is_granted_at_the_next_beat_of_the_others(group: Group) -> None:
    group.settle("a", "b")
    group.beat("b", "leave")
    assert set(group.beat("a").owned) == set(range(8))


def test_s23_a_member_that_fell_silent_is_expelled_after_its_session_and_not_before(group: Group) -> None:
    group.settle("a", "b")
    for _ in range(4):
        group.now += SESSION_MS // 4
        assert len(group.beat("a").owned) == 4
    group.now += 1
    answer = group.beat("a")
    assert set(answer.owned) == set(range(8))
    assert group.beat("b", "beat").code == 1, "it has to join again"


def test_a_grant_whose_answer_was_lost_is_given_again_with_a_larger_epoch(group: Group) -> None:
    first = group.beat("a", "join", held=set())
    again = group.beat("a", held=set())
    assert set(again.owned) == set(first.owned)
    assert min(again.owned.values()) > max(first.owned.values())


def test_a_grant_goes_above_an_epoch_that_a_claim_was_refused_for(group: Group) -> None:
    group.beat("a")
    answer = group.beat("a", held={1, 2, 3, 4, 5, 6, 7}, above=1000)
    assert answer.owned[0] == 1001
    assert answer.epoch == 1001
    assert max(answer.owned[p] for p in range(1, 8)) < 1000


def test_s17_a_member_without_a_share_stands_by_and_gets_one_when_another_leaves(group: Group) -> None:
    group.partitions = 2
    group.settle("a", "b", "c")
    assert sorted(len(mine) for mine in group.held.values()) == [0, 1, 1]
    idle = next(member for member, mine in group.held.items() if not mine)
    gone = next(member for member, mine in group.held.items() if mine)
    group.beat(gone, "leave")
    assert len(group.beat(idle).owned) == 1


def test_s25_a_static_member_that_starts_again_in_time_moves_nothing(group: Group) -> None:
    before = group.settle("a", "b")
    epoch = group.beat("a").epoch
    group.restart("b")
    answer = group.beat("b", "join")
    assert set(answer.owned) == before["b"], "at once, since no other may have it"
    assert min(answer.owned.values()) > epoch, "and what its earlier start does is fenced"
    assert group.settle("a", "b") == before


def test_s27_of_two_starts_with_one_name_the_newer_wins(group: Group) -> None:
    group.settle("a", "b")
    older = group.seat("b")
    group.restart("b")
    group.beat("b", "join")
    state = group.settle("a", "b")
    assert group.beat("b", "beat", seat=older, held=state["b"]).code == 2
    assert group.beat("b", "leave", seat=older).code == 2
    assert group.settle("a", "b") == state


def test_s28_members_that_came_and_went_leave_no_trace(group: Group) -> None:
    for number in range(1000):
        group.beat(f"m{number}", "join", held=set())
        group.held.clear()
        if number % 3 == 0:
            group.beat(f"m{number}", "leave")
        group.now += SESSION_MS // 50
    group.now += SESSION_MS + 1
    group.beat("last", "join")
    assert group.link.execute("ZRANGE", group.keys.group(GROUP, "members"), 0, -1) == [b"last"]
    assert group.link.execute("HLEN", group.keys.group(GROUP, "info")) == 1
    assert set(group.settle("last")["last"]) == set(range(8))
    group.beat("last", "leave")
    assert group.dump() == {}
    assert len(group.link.execute("KEYS", "*")) == 1, "the epoch stays, so that it only ever grows"


def test_global_mode_has_one_active_member_and_the_others_stand_by(group: Group) -> None:
    group.single = True
    held = group.settle("a", "b", "c")
    assert [len(mine) for mine in held.values()] == [8, 0, 0]
    group.beat("a", "leave")
    held = group.settle("b", "c")
    assert sorted(len(mine) for mine in held.values()) == [0, 8]


def test_s5_more_partitions_are_shared_out_and_an_older_view_takes_none_away(group: Group) -> None:
    group.settle("a", "b")
    group.partitions = 12
    group.beat("a")
    group.partitions = 8
    held = group.settle("a", "b")
    assert sorted(len(mine) for mine in held.values()) == [6, 6]
    assert group.beat("b").partitions == 12


def test_a_group_has_no_more_members_than_a_script_can_look_at(group: Group) -> None:
    for number in range(1024):
        group.beat(f"m{number}", "join", held=set())
    before = group.link.execute("HGETALL", group.keys.group(GROUP, "info"))
    assert group.beat("more", "join").code == 3
    assert group.link.execute("HGETALL", group.keys.group(GROUP, "info")) == before
    assert group.beat("m7", "join").code == 0


@pytest.mark.parametrize("part", ["members", "info", "owners", "target", "state", "sessions", "bell"])
def test_a_key_of_another_type_is_told_before_anything_is_written(group: Group, part: str) -> None:
    group.link.execute("SET", group.keys.group(GROUP, part), "x")
    with pytest.raises(BrokerRefused, match=part):
        group.beat("a")
    assert len(group.link.execute("KEYS", "*")) == 1
