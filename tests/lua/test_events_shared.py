"""What the scripts of shared groups do, on every server found here and on a cluster."""

from __future__ import annotations

import pytest

from taskq.events import shared_calls as calls
from taskq.events.shared_calls import Settled
from tests.lua import shared_stage as stage
from tests.lua.shared_kit import DIED, SharedPart

place, part, read = stage.place, stage.part, stage.read


# -- beginning, and beginning anew


def test_a_group_begins_where_it_is_told_once(part: SharedPart) -> None:
    part.append(3)
    assert part.found("latest") == calls.Found(1)
    part.append(1)
    assert part.found("earliest") == calls.Found(1), "it is there, so nothing moves"
    assert part.read() == [4]


@pytest.mark.parametrize("where", ["earliest", "latest"])
def test_a_group_begins_before_there_is_a_log(part: SharedPart, where: str) -> None:
    part.found(where)
    part.append(2)
    assert part.read() == [1, 2]


def test_a_group_that_was_removed_goes_on_from_its_position(read: SharedPart) -> None:
    read.settle(1)
    read.settle(2, verb="r", delay=5000)
    read.take(0)
    read.link.execute("XGROUP", "DESTROY", read.keys.log, "g:1")
    assert read.settle(3) == [], "a group that is not there has nothing to say of who holds it"
    assert read.run(calls.settle(read.seat(), [Settled(b"3-0")]))[0] is False
    assert read.take().there is False
    assert read.found() == calls.Found(2, healed=True)
    assert read.read() == [2, 3, 4, 5], "what was not settled comes again, nothing is skipped"
    assert read.take().rows == ()
    assert read.found() == calls.Found(2)


def test_a_log_that_lost_its_end_is_gone_on_with(read: SharedPart) -> None:
    read.settle(1, 2, 3)
    read.take(0)
    read.link.execute("DEL", read.keys.log, read.keys.meta)
    read.number = 0
    read.append(1)
    assert read.found() == calls.Found(2, healed=True, cut=True)
    read.append(1)
    assert read.read() == [2], "nothing behind the end of the log is ever skipped"


def test_a_move_shuts_out_what_was_in_flight(read: SharedPart) -> None:
    read.settle(1)
    old = read.seat()
    read.found("0-5", move="nonce")
    assert read.run(calls.settle(old, [Settled(b"2-0")], now=read.at)) == (False, frozenset())
    assert read.read() == [1, 2, 3, 4, 5]
    assert read.found("0-5", move="nonce") == calls.Found(2), "a repeat moves nothing"
    assert list(read.pending()) == [1, 2, 3, 4, 5]


def test_a_move_forgets_what_waited(read: SharedPart) -> None:
    read.settle(1, verb="r", line=b"{}")
    read.found("latest", move="x")
    assert (read.take().rows, read.read()) == ((), [])
    read.found("earliest", move="y")
    read.read(1)
    read.settle(1, verb="r")
    assert read.take().rows[0].attempts == 1


# -- settling


def test_only_who_holds_a_record_settles_it(read: SharedPart) -> None:
    assert read.settle(1, 2, consumer="two.1") == [1, 2]
    assert read.settle(1, 4, 9) == [4, 9], "the fourth was not read, the ninth never was"
    assert read.pending() == {2: "one.1", 3: "one.1"}
    assert read.settle(1) == [1], "once"
    assert read.counts("acked") == 1


def test_what_failed_waits_without_holding_others(read: SharedPart) -> None:
    read.settle(1, verb="r", delay=5000, line=b'{"n":1}')
    assert read.read() == [4, 5]
    taken = read.take()
    assert (taken.rows, taken.next) == ((), 5000)
    read.now += 5000
    (again,) = read.take(consumer="two.1").rows
    assert (again.id, again.attempts, again.deaths) == (b"1-0", 1, 0)
    assert list(again.fields) == [b"n", b"1,2", b"v", b"1", b"k", b"k"]
    assert read.settle(1) == [1], "it is not the first one's any more"
    assert read.settle(1, consumer="two.1") == []


def test_a_try_that_does_not_count_and_what_is_given_back_spend_no_attempt(read: SharedPart) -> None:
    read.settle(1, verb="n", delay=1)
    read.settle(2, verb="g")
    assert read.taken() == [2]
    read.now += 1
    assert [(one.id, one.attempts) for one in read.take().rows] == [(b"1-0", 0)]


def test_a_dead_letter_has_the_record_and_its_errors(read: SharedPart) -> None:
    read.settle(1, verb="r", line=b'{"first":1}')
    read.take()
    assert read.settle(1, verb="d", line=b'{"last":1}') == []
    ((_, letter),) = read.letters()
    assert (letter["topic"], letter["partition"]) == (b"t", b"3")
    assert (letter["id"], letter["attempts"], letter["k"], letter["v"]) == (b"1-0", b"2", b"k", b"1")
    assert (letter["first"], letter["last"]) == (b'{"first":1}', b'{"last":1}')
    assert 1 not in read.pending()
    assert (read.counts("dead"), read.counts("retried")) == (1, 1)


def test_a_repeat_settles_nothing_twice(read: SharedPart) -> None:
    items = [Settled(b"1-0"), Settled(b"2-0", "r", 0, b"{}"), Settled(b"3-0", "d", 0, b"{}")]
    call = calls.settle(read.seat(), items, now=read.at)
    assert read.run(call) == (True, frozenset())
    before = read.dump()
    assert read.run(call) == (True, frozenset({b"1-0", b"2-0", b"3-0"}))
    assert read.dump() == before


def test_an_id_that_is_named_twice_counts_once(read: SharedPart) -> None:
    assert read.settle(1, 1) == [1]
    assert (read.counts("acked"), read.counts("done")) == (1, 1)


# -- what the dead leave


def test_what_is_idle_for_longer_than_the_lease_is_taken_over(read: SharedPart) -> None:
    read.age(1, 2)
    (one, two) = read.take(consumer="two.1").rows
    assert [(row.id, row.attempts, row.deaths) for row in (one, two)] == [(b"1-0", 0, 1), (b"2-0", 0, 1)]
    assert read.pending() == {1: "two.1", 2: "two.1", 3: "one.1"}
    assert read.settle(1, 2, 3) == [1, 2]
    assert read.taken(consumer="three.1") == [], "a repeat, or another, finds it fresh"


def test_nobody_takes_from_himself(read: SharedPart) -> None:
    read.age(1, 2)
    assert read.taken() == []


def test_no_more_is_taken_than_there_is_room_for(read: SharedPart) -> None:
    read.age(1, 2, 3)
    assert read.taken(2, "two.1") == [1, 2]
    assert read.taken(0, "two.1") == []
    assert read.taken(2, "two.1") == [3]


def test_an_extended_record_stays(read: SharedPart) -> None:
    read.age(1, 2, 3)
    assert read.extend(1, 2, 4) == [4]
    assert read.taken(consumer="two.1") == [3]
    assert read.extend(3) == [3]


def test_two_deaths_make_a_suspect_that_runs_alone_and_a_third_buries_it(read: SharedPart) -> None:
    for name in ("two.1", "three.1"):
        read.age(1, 2, consumer="one.1" if name == "two.1" else "two.1")
        read.take(consumer=name)
    assert read.pending() == {1: "~", 2: "~", 3: "one.1"}, "suspects wait for somebody with nothing else in hand"
    assert read.take(consumer="four.1").alone
    assert read.taken(consumer="four.1", alone=True) == [1]
    read.age(1, consumer="four.1")
    assert read.take(consumer="five.1").rows == ()
    ((_, letter),) = read.letters()
    assert (letter["id"], letter["deaths"], letter["last"]) == (b"1-0", b"3", DIED)
    (suspect,) = read.take(consumer="five.1", alone=True).rows
    assert (suspect.id, suspect.deaths, suspect.alone) == (b"2-0", 2, True)
    assert read.settle(2, consumer="five.1") == [], "the innocent goes on"


def test_a_run_that_ends_makes_a_suspect_innocent(read: SharedPart) -> None:
    read.age(1)
    read.take(consumer="two.1")
    read.settle(1, verb="r", consumer="two.1", line=b"{}")
    assert [(one.attempts, one.deaths) for one in read.take().rows] == [(1, 0)]


def test_a_suspect_that_is_given_back_is_still_one(read: SharedPart) -> None:
    read.age(1)
    read.take(consumer="two.1")
    read.age(1, consumer="two.1")
    read.take(consumer="three.1")
    assert read.taken(consumer="three.1", alone=True) == [1]
    read.settle(1, verb="g", consumer="three.1")
    assert read.take(consumer="four.1").rows == ()
    assert read.taken(consumer="four.1", alone=True) == [1]


def test_a_consumer_is_forgotten_only_when_it_holds_nothing(read: SharedPart) -> None:
    read.read(1, "two.1")
    read.settle(4, consumer="two.1")
    read.link.execute("XGROUP", "CREATECONSUMER", read.keys.log, "g:1", "three.1")
    read.take(consumer="me.1", forget=-1)
    assert [one[0] for one in read.look().consumers if one[0] != "me.1"] == ["one.1"]
    assert read.pending() == {1: "one.1", 2: "one.1", 3: "one.1"}


def test_leaving_gives_everything_back_and_leaves_no_trace(read: SharedPart) -> None:
    assert read.disown(leave=True) == (3, False)
    assert read.look().consumers == ()
    assert read.taken(consumer="two.1") == [1, 2, 3]
    assert [one.attempts + one.deaths for one in read.take().rows] == []


def test_leaving_with_much_in_hand_takes_several_calls(part: SharedPart) -> None:
    part.append(600)
    part.found()
    part.read(600)
    answers = [part.disown(leave=True) for _ in range(3)]
    assert answers == [(250, True), (250, True), (100, False)]
    assert (part.look().consumers, set(part.pending().values())) == ((), {"~"})


def test_what_an_answer_that_was_lost_handed_out_is_given_back(read: SharedPart) -> None:
    assert read.disown(1, 3) == (1, False)
    assert read.pending() == {1: "one.1", 2: "~", 3: "one.1"}
    assert [one[0] for one in read.look().consumers] == ["one.1"]


# -- records that retention removed


def test_what_retention_took_is_counted_whether_it_was_read_or_not(part: SharedPart) -> None:
    part.append(10)
    part.found()
    part.read(2)
    part.settle(1)
    part.trim(6)
    assert part.read(1) == [7]
    part.age(2)
    taken = part.take(consumer="two.1")
    assert (taken.rows, taken.lost) == ((), 5), "2 was in hand, 3 to 6 were never read"
    assert (part.pending(), part.counts("lost")) == ({7: "one.1"}, 5)
    part.settle(7)
    part.read(10)
    part.settle(8, 9, 10)
    assert part.take().lost == 5


def test_what_waits_and_is_gone_is_not_handed_out(read: SharedPart) -> None:
    read.settle(1, 2, verb="r", line=b"{}")
    read.trim(1)
    assert read.taken() == [2]
    assert read.take().lost == 1
    assert read.dump()["group:g:notes"][::2] == [b"2-0"]


def test_a_record_that_is_gone_can_still_be_settled(read: SharedPart) -> None:
    read.trim(3)
    assert read.settle(1, 2, 3) == []
    assert read.take().lost == 0


# -- where it stands


def test_lag_is_exact_and_costs_no_scan(read: SharedPart) -> None:
    read.settle(1)
    read.settle(2, verb="r", delay=9000)
    standing = read.look()
    assert (standing.unread, standing.unread_bytes, standing.pending, standing.waiting) == (2, 4, 2, 1)
    assert standing.oldest == "2-0"
    read.settle(3)
    read.trim(2)
    assert (read.look().unread, read.look().pending) == (2, 1)


def test_the_position_is_before_the_first_that_is_not_settled_and_never_goes_back(read: SharedPart) -> None:
    read.settle(1, 3)
    read.take(0)
    assert read.look().counts["at"] == "1-18446744073709551615"
    read.settle(2, verb="d")
    read.take(0)
    assert (read.look().counts["at"], read.look().counts["n"]) == ("3-0", "3")
    read.redrive(read.letters()[0][0])
    read.take(0)
    assert read.look().counts["at"] == "3-0"


# -- redrive


def test_a_redriven_letter_runs_again_with_a_count_and_a_cap(read: SharedPart) -> None:
    for count in range(3):
        read.settle(1, verb="d", line=b'{"x":1}')
        ((name, letter),) = read.letters()
        assert letter["redriven"] == b"%d" % count
        answer = read.redrive(name, name, "99-0")
        assert (answer.redriven, answer.capped) == ((1, ()) if count < 2 else (0, (name, name)))
        if count < 2:
            (again,) = read.take().rows
            assert (again.id, again.attempts, again.redriven) == (b"1-0", 0, count + 1)
    assert read.take().lost == 0
    assert len(read.letters()) == 1


def test_a_letter_whose_record_is_gone_stays(read: SharedPart) -> None:
    read.settle(1, verb="d")
    read.trim(1)
    ((name, _),) = read.letters()
    assert read.redrive(name) == calls.Redriven(True, 0, (), (name,))
    assert len(read.letters()) == 1
