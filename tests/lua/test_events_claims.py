"""Claims, commits and seeks of ordered groups in one partition: who may change what, and what a repeat changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from taskq.errors import BrokerFull, BrokerRefused
from taskq.events.group_calls import Committed, Mark, Position, unpark
from taskq.events.record import Offset
from taskq.store.scripts import run
from tests.lua.group_kit import GROUP, Group, Share, at
from tests.servers import RealServer, declared_keys

OTHER = "b" * 16


@pytest.fixture
def share(server: RealServer, namespace: str) -> Iterator[Share]:
    link = server.link()
    yield Share(link, namespace)
    link.close()


@pytest.fixture
def owned(share: Share) -> Share:
    """Five records, and an owner who has done nothing yet."""
    share.ids = share.append(5)  # type: ignore[attr-defined]
    share.begin()
    assert share.claim(7).code == 0
    return share


def ids(share: Share) -> list[str]:
    return share.ids  # type: ignore[attr-defined, no-any-return]


# -- where a group begins


def test_s1_a_group_that_begins_at_the_start_has_everything_before_it(share: Share) -> None:
    share.append(3)
    assert share.begin("start").place == Position()
    assert share.claim(1).place == Position()


def test_s1_the_start_is_behind_what_retention_removed(share: Share) -> None:
    first, second, _ = share.append(3)
    share.link.execute("XTRIM", share.keys.log, "MINID", second)
    share.link.execute("HSET", share.keys.meta, "gone", 1, "gone_b", 10, "gone_id", first)
    assert share.begin("start").place == at(first, 1)


def test_s2_a_group_that_begins_at_the_end_gets_only_what_comes_later(share: Share) -> None:
    *_, last = share.append(3)
    assert share.begin("end").place == at(last, 3)
    share.append(2)
    assert share.begin("end").code == 2, "where it began stays, whoever asks again"
    assert share.claim(1).place == at(last, 3)


def test_a_group_may_begin_at_the_end_of_a_log_that_is_empty(share: Share) -> None:
    assert share.begin("end").place == Position()


def test_s3_a_group_without_a_position_cannot_claim_and_nothing_is_written(share: Share) -> None:
    share.append(1)
    before = share.dump()
    assert share.claim(1).code == 2
    assert share.dump() == before


# -- one owner


def test_s19_a_claim_needs_a_larger_epoch_and_tells_the_stored_one(owned: Share) -> None:
    before = owned.dump()
    for epoch in (6, 7):
        refused = owned.claim(epoch, "n", OTHER)
        assert (refused.code, refused.epoch) == (1, 7)
    assert owned.dump() == before
    assert owned.claim(8, "n", OTHER).code == 0


def test_s19_a_claim_that_is_sent_again_answers_the_same(owned: Share) -> None:
    owned.commit(at(ids(owned)[0], 1))
    owned.claim(9, "n", OTHER)
    before = owned.dump()
    again = owned.claim(9, "n", OTHER)
    assert (again.code, again.place, again.unclean) == (0, at(ids(owned)[0], 1), False)
    assert owned.dump() == before


def test_who_has_left_needs_a_new_grant_since_commits_are_numbered_within_one(owned: Share) -> None:
    owned.commit(Position(), ("l", "", ""))
    before = owned.dump()
    refused = owned.claim(7)
    assert (refused.code, refused.epoch) == (1, 7)
    assert owned.dump() == before
    assert owned.claim(8).code == 0


def test_s19_once_another_has_claimed_the_owner_before_cannot_commit(owned: Share) -> None:
    old, one = owned.owner, at(ids(owned)[0], 1)
    owned.claim(8, "n", OTHER)
    before = owned.dump()
    assert owned.commit(one, ("s", "k", "v"), owner=old, number=1) == Committed(1, 8)
    assert owned.commit(one, owner=(8, "a" * 16), number=1) == Committed(1, 8)
    assert owned.dump() == before


def test_s9_a_commit_from_another_position_than_the_stored_one_is_refused(owned: Share) -> None:
    first, second, *_ = ids(owned)
    owned.commit(at(second, 2))
    before = owned.dump()
    assert owned.commit(at(first, 1), before=Position(), number=2).code == 2
    assert owned.dump() == before


def test_a_commit_that_is_sent_again_changes_nothing_twice(owned: Share) -> None:
    one = at(ids(owned)[0], 1)
    steps = [("o", b"h", b"b"), ("d", b"h", b"b"), ("p", "skipped", 3), ("s", "k", "v")]
    assert owned.commit(one, *steps, number=1).code == 0
    before = owned.dump()
    assert owned.commit(one, *steps, before=Position(), number=1).code == 0
    assert owned.dump() == before
    assert owned.field("skipped") == b"3"


def test_s40_state_outbox_dead_letters_and_position_change_together(owned: Share) -> None:
    one = at(ids(owned)[0], 1)
    owned.commit(one, ("s", "a", b"1"), ("s", "b", b"2"), ("o", b"orders/0 x", b"body"), ("d", b"why", b"what"))
    dump = owned.dump()
    assert dump[f"group:{GROUP}:state"] == [b"1", b"2", b"a", b"b"]
    assert dump[f"group:{GROUP}:out"][0][1] == [b"n", b"1", b"head", b"orders/0 x", b"body", b"body"]
    assert dump[f"group:{GROUP}:dead"][0][1] == [b"head", b"why", b"body", b"what"]
    assert (owned.field("dead"), owned.field("version")) == (b"1", b"1")
    assert owned.claim(8).place == one
    owned.commit(one, ("x", "a", ""), ("x", "b", ""))
    assert f"group:{GROUP}:state" not in owned.dump()


# -- deaths


def test_s50_a_death_at_a_marked_record_is_counted_once_and_makes_the_next_owner_careful(owned: Share) -> None:
    one = ids(owned)[0]
    owned.commit(Position(), ("m", one, Mark(running=True, fails=1, first="E: x y").text()))
    for _ in range(2):
        after = owned.claim(8, "n", OTHER)
        assert after.marks == {Offset.parse(one): Mark(False, 1, 1, "E: x y")}
        assert after.careful == 100
    owned.commit(Position(), ("m", one, Mark(running=True, deaths=1).text()))
    again = owned.claim(9, "o", "c" * 16)
    assert (again.unclean, again.marks) == (True, {Offset.parse(one): Mark(False, 2)})
    owned.commit(at(one, 1), ("c", one, ""))
    assert owned.claim(10, "o", "c" * 16).marks == {}
    assert owned.field("deaths") == b"2"


def test_an_owner_who_left_in_order_or_claims_again_itself_has_not_died(owned: Share) -> None:
    owned.commit(Position(), ("m", ids(owned)[0], Mark(running=True).text()))
    again = owned.claim(8)
    assert (again.unclean, again.careful) == (False, 0)
    owned.commit(Position(), ("l", "", ""))
    after = owned.claim(9, "n", OTHER)
    assert (after.unclean, after.careful) == (False, 0)


def test_care_is_kept_until_the_number_is_passed_whoever_owns_it(owned: Share) -> None:
    owned.claim(8, "n", OTHER, span=1)
    owned.commit(at(ids(owned)[0], 1), ("l", "", ""))
    after = owned.claim(9, "o", "c" * 16)
    assert (after.unclean, after.careful) == (False, 100)


# -- facts for the owner


def test_a_claim_tells_the_end_of_the_log_and_what_retention_removed(owned: Share) -> None:
    owned.link.execute("HSET", owned.keys.meta, "gone", 2, "gone_id", ids(owned)[1])
    claimed = owned.claim(8)
    assert claimed.last == Offset.parse(ids(owned)[-1])
    assert (claimed.gone, claimed.gone_id) == (2, Offset.parse(ids(owned)[1]))


# -- seeks


def test_s6_the_next_record_is_the_first_from_the_given_one_on(owned: Share) -> None:
    first, second, third, *_, last = ids(owned)
    assert owned.seek(Offset.parse(third)).code == 0
    assert owned.claim(20).place == at(second, 2)
    put = owned.seek(Offset.parse(first))
    assert put.place == Position()
    owned.claim(30)
    assert owned.seek("end").place == at(last, 5)
    owned.claim(40)
    assert owned.seek(Offset(9_999_999_999_999)).place == at(last, 5)
    owned.claim(50)
    assert owned.seek("start").place == Position()


def test_s6_a_packed_entry_can_be_entered_in_its_middle(share: Share) -> None:
    [first] = share.append(1)
    entry = share.link.execute("XADD", share.keys.log, "*", "n", "11,110", "c", 10, "b", b"block").decode()
    share.begin()
    share.claim(1)
    for item, before in ((0, at(first, 1)), (1, Position(Offset.parse(entry), 2, 10)), (3, None)):
        put = share.seek(Offset.parse(entry)._replace(item=item))
        if before is not None:
            assert put.place == before
        else:
            assert (put.place.offset, put.place.number) == (Offset.parse(f"{entry}:2"), 4)
        share.owner = (put.epoch, share.owner[1])


@pytest.mark.parametrize("force", [False, True])
def test_s7_what_was_in_hand_cannot_commit_after_a_seek(owned: Share, force: bool) -> None:
    owned.commit(at(ids(owned)[0], 1))
    old, place = owned.owner, owned.place
    put = owned.seek(place.offset._replace(seq=place.offset.seq + 1), force=force)
    assert put.place == place, "to where it stands already"
    assert owned.commit(at(ids(owned)[1], 2), owner=old, before=place, number=2) == Committed(1, 8)
    if not force:
        owned.owner, owned.number = (put.epoch, old[1]), 0
        assert owned.commit(at(ids(owned)[1], 2)).code == 0


def test_s7_a_seek_that_is_sent_again_changes_nothing_twice(owned: Share) -> None:
    first = owned.seek("end", word="w", counter=("out_of_range", 5))
    before = owned.dump()
    assert owned.seek("end", word="w", counter=("out_of_range", 5)) == first
    assert owned.dump() == before
    assert owned.field("out_of_range") == b"5"


def test_s8_only_the_owner_seeks_without_force(owned: Share) -> None:
    old = owned.owner
    owned.claim(8, "n", OTHER)
    owned.owner = old
    before = owned.dump()
    assert owned.seek("end").code == 1
    assert owned.dump() == before
    assert owned.seek("end", force=True).code == 0


# -- parked keys


def test_s36_parked_records_are_kept_in_order_until_they_are_done(owned: Share) -> None:
    one, two, *_ = ids(owned)
    owned.commit(at(one, 1), ("h", "k", 500), ("t", "k:1", b"first"))
    owned.commit(at(two, 2), ("t", "k:2", b"second"))
    dump = owned.dump()
    assert dump[f"group:{GROUP}:parked"] == [b"k", b"%d" % (owned.now + 500)]
    assert dump[f"group:{GROUP}:tails"][::2] == [b"k:1", b"k:2"]
    assert owned.claim(8).parked == 1
    owned.commit(owned.place, ("u", "k:1", ""), ("u", "k:2", ""), ("g", "k", ""))
    assert not [key for key in owned.dump() if key.endswith(("parked", "tails", "bodies"))]


# -- a full server, keys of another type, a cluster


def test_a_full_server_takes_progress_and_dead_letters_but_no_output(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    link = server.link()
    share = Share(link, namespace)
    one, *_ = share.append(5)
    share.begin()
    share.claim(1)
    link.execute("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(BrokerFull):
        share.commit(at(one, 1), ("s", "k", "v"))
    share.number = 0
    assert share.commit(at(one, 1), ("d", b"head", b"body")).code == 0
    assert share.commit(share.place, ("l", "", "")).code == 0
    assert share.claim(2).code == 0
    assert share.seek("end").code == 0
    assert run(link, unpark(share.keys, GROUP))[1] == b""
    link.close()


VERBS: dict[str, Callable[[Share], object]] = {
    "claim": lambda share: share.claim(50, "n", OTHER),
    "commit": lambda share: share.commit(Position()),
    "place": lambda share: share.seek("end", force=True),
    "unpark": lambda share: run(share.link, unpark(share.keys, GROUP)),
}
TOUCHED = {
    "claim": ("group", "log", "meta", "marks", "parked"),
    "commit": ("group", "marks", "state", "out", "dead", "parked", "tails", "bodies"),
    "place": ("group", "log", "meta", "marks"),
    "unpark": ("group", "parked", "tails", "bodies"),
}


@pytest.mark.parametrize(("verb", "part"), [(verb, part) for verb, parts in TOUCHED.items() for part in parts])
def test_a_key_of_another_type_is_told_before_anything_is_written(owned: Share, verb: str, part: str) -> None:
    keys = {"group": owned.keys.group(GROUP), "log": owned.keys.log, "meta": owned.keys.meta}
    key = keys.get(part) or owned.keys.group(GROUP, part)
    before = owned.dump()
    owned.link.execute("RENAME" if owned.link.execute("EXISTS", key) else "COPY", key, key + "x")
    owned.link.execute("RPUSH", key, "x")
    with pytest.raises(BrokerRefused, match=key.rpartition("}")[2]):
        VERBS[verb](owned)
    owned.link.execute("DEL", key)
    if owned.link.execute("EXISTS", key + "x"):
        owned.link.execute("RENAME", key + "x", key)
    assert owned.dump() == before


def test_all_keys_of_the_scripts_are_declared(start_server: Callable[..., RealServer], namespace: str) -> None:
    server = start_server(cluster=True)
    link = server.link()
    with declared_keys(server):
        share = Share(link, namespace)
        one, two, *_ = share.append(5)
        share.begin("end")
        share.claim(1)
        share.seek("start")
        share.claim(9, "n", OTHER)
        share.commit(share.place, ("h", "k", 5), ("t", "k:00000000000000000002", b"x"))
        share.seek("start")
        run(link, unpark(share.keys, GROUP))
        share.claim(10, "n", OTHER)
        letters = {"s": "s", "x": "s", "h": 5}
        share.commit(at(one, 1), *((letter, "a", letters.get(letter, "b")) for letter in "msohtd"))
        share.commit(at(two, 2), *((letter, "a", "") for letter in "cxug"), ("p", "skipped", 1), ("l", "", ""))
        assert share.claim(11).place == at(two, 2)
        group = Group(link, namespace)
        group.beat("a")
        group.settle("a", "b")
        group.beat("a", "leave")
    link.close()
