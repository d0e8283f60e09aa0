"""What a seek leaves of the parked records of a group, and the script that forgets the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq.events.group_calls import Step, unpark
from taskq.events.record import Offset
from taskq.store.scripts import run
from tests.lua.group_kit import GROUP, Share, at
from tests.servers import RealServer


@pytest.fixture
def owned(server: RealServer, namespace: str) -> Iterator[Share]:
    """Five records, and an owner who has done nothing yet."""
    link = server.link()
    share = Share(link, namespace)
    share.ids = share.append(5)  # type: ignore[attr-defined]
    share.begin()
    assert share.claim(7).code == 0
    yield share
    link.close()


def ids(share: Share) -> list[str]:
    return share.ids  # type: ignore[attr-defined, no-any-return]


def parked(share: Share, numbers: dict[str, list[int]]) -> None:
    """Keys with so many records waiting, the first of each being due."""
    steps: list[Step] = [("h", key, 500) for key in numbers]
    steps += [("t", f"{key}:{number:020}", b"body") for key, many in numbers.items() for number in many]
    for begin in range(0, len(steps), 200):
        assert share.commit(share.place, *steps[begin : begin + 200]).code == 0


def waiting(share: Share) -> dict[str, list[int]]:
    """What still waits, by key; bodies and tails say the same."""
    found: dict[str, list[int]] = {
        key.decode(): [] for key in share.link.execute("ZRANGE", part(share, "parked"), 0, -1)
    }
    tails = share.link.execute("ZRANGE", part(share, "tails"), 0, -1)
    assert sorted(share.link.execute("HKEYS", part(share, "bodies"))) == sorted(tails)
    for member in tails:
        key, _, number = member.decode().partition(":")
        found[key].append(int(number))
    return found


def part(share: Share, name: str) -> str:
    return share.keys.group(GROUP, name)


@pytest.mark.parametrize("force", [False, True])
def test_a_seek_forgets_of_the_parked_what_comes_again_and_keeps_the_rest(owned: Share, force: bool) -> None:
    owned.commit(at(ids(owned)[4], 5))
    parked(owned, {"k": [1, 3, 5], "l": [4], "m": [2]})
    assert not owned.claim(8).void
    put = owned.seek(Offset.parse(ids(owned)[3]), force=force)
    assert put.place.number == 3
    assert owned.claim(20).void
    assert run(owned.link, unpark(owned.keys, GROUP))[1] == b""
    assert waiting(owned) == {"k": [1, 3], "m": [2]}
    assert not owned.claim(21).void
    before = owned.dump()
    assert run(owned.link, unpark(owned.keys, GROUP)) == (b"", b"")
    assert owned.dump() == before
    owned.seek("end")
    owned.claim(30)
    run(owned.link, unpark(owned.keys, GROUP))
    assert waiting(owned) == {"k": [1, 3], "m": [2]}, "what is behind the group stays parked"
    owned.seek("start")
    owned.claim(40)
    run(owned.link, unpark(owned.keys, GROUP))
    assert waiting(owned) == {}
    assert not owned.link.execute("EXISTS", part(owned, "parked"), part(owned, "tails"), part(owned, "bodies"))


def test_of_two_seeks_the_lowest_counts_until_the_parked_are_forgotten(owned: Share) -> None:
    owned.commit(at(ids(owned)[4], 5))
    parked(owned, {"k": [1, 3, 5]})
    owned.seek(Offset.parse(ids(owned)[2]))
    owned.claim(20)
    owned.seek("end")
    owned.claim(30)
    run(owned.link, unpark(owned.keys, GROUP))
    assert waiting(owned) == {"k": [1]}


def test_a_gap_forgets_nothing_that_is_parked(owned: Share) -> None:
    owned.commit(at(ids(owned)[4], 5))
    parked(owned, {"k": [1, 3, 5]})
    owned.seek("start", counter=("out_of_range", 1))
    assert not owned.claim(20).void
    assert run(owned.link, unpark(owned.keys, GROUP)) == (b"", b"")
    assert waiting(owned) == {"k": [1, 3, 5]}


def test_many_are_forgotten_page_by_page_and_another_seek_begins_anew(owned: Share) -> None:
    owned.commit(at(ids(owned)[4], 5))
    parked(owned, {f"{key:02}": [*range(1, 21)] for key in range(30)})
    owned.seek(Offset.parse(ids(owned)[2]))
    owned.claim(20)
    first = run(owned.link, unpark(owned.keys, GROUP))
    assert first[1] != b""
    owned.seek(Offset.parse(ids(owned)[1]))
    owned.claim(30)
    second = run(owned.link, unpark(owned.keys, GROUP, first))
    assert second[0] != first[0]
    pages = 1
    while second[1]:
        second = run(owned.link, unpark(owned.keys, GROUP, second))
        pages += 1
    assert pages > 1
    assert waiting(owned) == {f"{key:02}": [1] for key in range(30)}
