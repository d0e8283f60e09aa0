"""Membership of ordered groups: who counts as dead, who gets what the dead and those who end leave, who hears of it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.lua.group_kit import SESSION_MS, Group
from tests.servers import RealServer


@pytest.fixture
def group(server: RealServer, namespace: str) -> Iterator[Group]:
    link = server.link()
    yield Group(link, namespace)
    link.close()


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
