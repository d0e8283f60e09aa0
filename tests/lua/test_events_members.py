"""Membership of ordered groups: who is there, who owns which partition, and what moves when somebody comes or goes."""

from __future__ import annotations

import random
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


def test_a_member_that_is_late_itself_expels_nobody_once(group: Group) -> None:
    group.settle("a", "b")
    group.now += SESSION_MS * 2
    assert len(group.beat("a").owned) == 4, "the server may have stood still"
    assert group.beat("b").code == 0
    group.now += SESSION_MS * 2
    assert len(group.beat("a").owned) == 8


def test_after_an_outage_all_members_stay_also_those_whose_sessions_end_a_moment_later(group: Group) -> None:
    before = group.settle("a", "b", "c", "d")
    group.pass_ms(SESSION_MS // 2, "c")
    group.now += SESSION_MS * 3 // 4  # a, b and d have lapsed, c has not
    group.beat("a")
    assert group.alive() == {"a", "b", "c", "d"}
    group.now += SESSION_MS // 2
    group.beat("b")
    assert group.alive() == {"a", "b", "c", "d"}, "the session of c, too, ends half a session after the first beat"
    group.beat("c")
    assert {name: group.held[name] for name in "abc"} == {name: before[name] for name in "abc"}
    group.now += 1
    group.beat("a")
    assert group.alive() == {"a", "b", "c"}, "d had its half session"


@pytest.mark.parametrize("late", [SESSION_MS - 1, SESSION_MS + 1], ids=["before", "behind the end of its session"])
def test_one_member_that_was_frozen_gives_the_dead_nothing(group: Group, late: int) -> None:
    group.settle("frozen", "dead", "well")
    dies = group.now + SESSION_MS
    group.pass_ms(SESSION_MS - 1, "well")
    group.now += late - SESSION_MS + 1
    answer = group.beat("frozen")
    if late > SESSION_MS:
        assert group.alive() == {"frozen", "well"}
        return
    assert (answer.code, answer.lapse) == (0, dies)
    group.now = dies + 1
    group.beat("frozen")
    assert group.alive() == {"frozen", "well"}


def test_the_answer_says_when_the_first_session_of_another_ends(group: Group) -> None:
    assert group.beat("a").lapse == 0
    first = group.now + SESSION_MS
    group.now += 1000
    assert group.beat("b").lapse == first
    assert group.beat("c").lapse == first
    assert group.beat("a").lapse == group.now + SESSION_MS
    group.now += 1000
    group.beat("b")
    assert group.beat("c").lapse == group.now - 1000 + SESSION_MS
    assert group.beat("more", "leave").lapse == 0, "who is no member learns nothing"
    group.beat("b", "leave")
    group.beat("c", "leave")
    assert group.beat("a").lapse == 0


def test_who_finds_a_dead_member_at_that_moment_has_its_grant_with_the_same_answer(group: Group) -> None:
    before = group.settle("a", "b", "c")
    group.pass_ms(SESSION_MS * 3 // 4, "a", "b")
    answer = group.beat("a")
    group.now = answer.lapse + 1
    assert len(group.beat("b").owned) + len(group.beat("a").owned) == 8
    assert before["a"] <= group.held["a"]
    assert before["b"] <= group.held["b"]


def test_a_member_that_was_not_heard_of_for_half_a_session_gets_nothing_of_a_dead_one(group: Group) -> None:
    group.partitions = 9
    before = group.settle("well", "dead", "frozen")
    group.pass_ms(SESSION_MS // 4, "well", "frozen")
    group.pass_ms(SESSION_MS * 3 // 4, "well")
    group.now += 1
    assert set(group.beat("well").owned) == before["well"] | before["dead"]
    assert len(group.beat("frozen").waiting) == 1, "it is there again, and has to have half of them"
    held = group.settle("well", "frozen")
    assert sorted(len(mine) for mine in held.values()) == [4, 5]
    assert before["frozen"] < held["frozen"]


def test_what_nobody_owns_goes_to_others_when_the_heir_falls_silent(group: Group) -> None:
    group.partitions = 9
    before = group.settle("a", "dead", "heir")
    group.pass_ms(SESSION_MS, "a", "heir")
    group.now += 1
    assert len(group.beat("a").owned) == 5, "two of nine are for a, one for the heir, who does not come for it"
    group.pass_ms(SESSION_MS // 2 - 1, "a")
    assert len(group.held["a"]) == 5
    group.now += 1
    assert set(group.beat("a").owned) == before["a"] | before["dead"]
    epoch = group.beat("a").epoch
    group.now += 1
    assert group.beat("a").epoch == epoch, "and that is that"


def test_global_mode_is_not_given_to_a_member_that_is_silent(group: Group) -> None:
    group.single = True
    group.settle("dead", "frozen", "well")
    group.pass_ms(SESSION_MS, "well")
    group.now += 1
    group.beat("well")
    assert set(group.beat("well").owned) == set(range(8))
    epoch = group.beat("well").epoch
    group.beat("frozen", "join")
    assert group.settle("well", "frozen") == {"well": set(range(8)), "frozen": set()}
    assert group.beat("well").epoch <= epoch + 1


def test_global_mode_goes_on_elsewhere_if_somebody_comes_while_the_active_member_is_silent(group: Group) -> None:
    group.single = True
    group.settle("active", "well")
    group.pass_ms(SESSION_MS * 3 // 4, "well")
    assert group.beat("new").waiting == set(range(8)), "as soon as it has let go, or its session ends"
    assert group.beat("active").leaving == set(range(8))
    assert group.settle("active", "well", "new") == {"active": set(), "well": set(), "new": set(range(8))}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_no_partition_has_two_owners_and_in_the_end_all_are_shared_evenly(
    group: Group, seed: int
) -> None:
    dice = random.Random(seed)
    group.partitions = dice.randint(1, 12)
    group.single = seed == 0
    names, frozen, draining = [f"m{number}" for number in range(6)], set[str](), set[str]()
    for _ in range(400):
        group.now += dice.choice((0, 1, SESSION_MS // 30, SESSION_MS // 3))
        name = dice.choice(names)
        if dice.random() < 0.05:
            frozen ^= {name}
        if name in frozen:
            continue
        what = dice.choice(("beat", "beat", "beat", "beat", "drain", "leave")) if name in group.held else "join"
        if name in draining and what == "beat":
            what = "drain"
        answer = group.beat(name, what)  # type: ignore[arg-type]
        (draining.add if what == "drain" and not answer.code else draining.discard)(name)
        if what == "leave" or answer.code:
            group.held.pop(name, None)
        assert not (what == "drain" and answer.owned)
    for name in sorted(draining):  # they come again, each with another start
        group.restart(name)
    for name in names * 6:
        group.now += SESSION_MS // 12
        if group.beat(name).code:
            del group.held[name]
            group.beat(name)
    held = group.settle(*names)
    sizes = sorted(len(mine) for mine in held.values())
    assert sum(sizes) == group.partitions == len(set().union(*held.values()))
    assert sizes[-1] == group.partitions if group.single else sizes[-1] - sizes[0] <= 1


def test_a_member_with_a_short_session_is_silent_by_its_own_measure(group: Group) -> None:
    short = SESSION_MS // 4
    for _ in range(3):
        for name, session in (("long", SESSION_MS), ("short", short), ("dead", SESSION_MS)):
            group.beat(name, session=session)
    for _ in range(16):
        group.now += SESSION_MS // 16
        group.beat("short", session=short)
    group.beat("long")
    group.now += 1
    group.beat("long")
    group.beat("short", session=short)
    assert sorted(len(group.held[name]) for name in ("long", "short")) == [4, 4]


def test_who_drains_keeps_what_it_holds_until_it_lets_go_and_is_granted_nothing(group: Group) -> None:
    before = group.settle("a", "b")
    first, *others = sorted(before["b"])
    told = group.beat("b", "drain")
    assert not told.owned
    assert told.leaving == before["b"]
    assert told.members == 2
    assert group.beat("a").waiting == before["b"]
    told = group.beat("b", "drain", held=set(others))
    assert not told.owned
    assert told.leaving == set(others), "what it let go of does not come back"
    assert set(group.beat("a").owned) == {*before["a"], first}
    assert len(group.beat("c", held=set()).waiting) == 4, "of two that share, not of three"
    group.beat("a", held=before["a"])
    assert first in group.beat("c").owned
    assert group.beat("b", "drain", held=set()).leaving == set()
    assert sorted(len(mine) for mine in group.settle("a", "c").values()) == [4, 4]
    assert group.beat("b", "leave").code == 0
    assert group.alive() == {"a", "c"}


def test_who_drains_and_dies_is_expelled_like_others_and_may_join_again(group: Group) -> None:
    before = group.settle("a", "b")
    group.beat("b", "drain", held=before["b"])
    group.pass_ms(SESSION_MS, "a")
    assert set(group.beat("a").owned) == before["a"]
    group.now += 1
    assert set(group.beat("a").owned) == set(range(8))
    assert group.beat("b", "drain").code == 1
    group.restart("b")
    group.beat("b", "join")
    assert len(group.settle("a", "b")["b"]) == 4


def test_if_all_drain_nobody_is_granted_anything(group: Group) -> None:
    group.settle("a", "b")
    for name in "ab":
        assert group.beat(name, "drain", held=set()).owned == {}
    assert group.beat("a", "drain", held=set()).owned == {}
    assert len(group.beat("c").owned) == 8


def test_the_bell_rings_when_shares_change_and_somebody_else_is_there_to_hear_it(group: Group) -> None:
    group.beat("a")
    assert group.rings() == b""
    heard = [b""]
    for member, what in (("b", "join"), ("b", "drain"), ("c", "join"), ("b", "leave"), ("c", "leave")):
        group.beat(member, what)  # type: ignore[arg-type]
        heard.append(group.rings())
        group.settle("a", *(("c",) if len(heard) == 5 else ()))
        assert group.rings() == heard[-1], "nothing rings it that changes no share"
    assert heard[1] < heard[2] < heard[3] == heard[4] < heard[5], "who drains has no share any more when it leaves"
    group.beat("a", "leave")
    assert group.rings() == b""


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
