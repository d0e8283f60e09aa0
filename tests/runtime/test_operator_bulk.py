"""Cancelling, removing, listing and moving by filter, from Python and as it is typed, on every server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import Queue
from taskq.control import CANCELLABLE, REMOVABLE, Cancels
from taskq.errors import BrokerUnavailable, InvalidOption
from taskq.inspector import MessageFilter, Shelf
from taskq.message import id_text
from taskq.tasks.broker import Held
from tests.runtime.moving import listed, nothing_left, put, runs, texts
from tests.runtime.operating import Operator, error_of, operating
from tests.runtime.shop import Shop, shop
from tests.runtime.test_operator_control import Clock
from tests.servers import RealServer

GO = MessageFilter(task="shop.go")


@pytest.fixture(params=["list", "stream"])
def here(server: RealServer, namespace: str, request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop(server.url, namespace, Clock().pace()) as one:
        one.broker.declare(Queue("mail", transport=request.param))
        yield one


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


def send(number: int) -> int:
    return number


def mixed(here: Shop) -> tuple[list[str], list[str]]:
    """Ready messages of two tasks by turns: those to go, and those to stay."""
    go: list[str] = []
    stay: list[str] = []
    for _ in range(30):
        go += texts(here.enqueue(10, "shop.go"))
        stay += texts(here.enqueue(2, "shop.stay"))
    return go, stay


def test_what_fits_is_cancelled_and_the_rest_runs(here: Shop) -> None:
    go, stay = mixed(here)
    told: list[int] = []
    assert here.control.cancel_matching("mail", "ready", GO, dry_run=True) == Cancels(300, dry_run=True)
    assert here.control.cancel_matching("mail", "ready", GO, on_progress=told.append) == Cancels(300, 300)
    assert told[-1] == 300
    assert {here.inspector.message("mail", one).status for one in go} == {"cancelled"}
    assert runs(here, "mail") == stay
    assert here.control.cancel_matching("mail", "ready", GO) == Cancels()


def test_what_fits_is_removed_without_an_outcome(here: Shop) -> None:
    go, stay = mixed(here)
    assert here.control.remove_matching("mail", "ready", GO, dry_run=True) == 300
    assert here.control.remove_matching("mail", "ready", GO) == 300
    assert here.broker.lookup("mail", [bytes.fromhex(go[0].replace("-", ""))])[0].result == b""
    assert runs(here, "mail") == stay
    assert here.inspector.queue("mail").counters["purged"] == 300
    nothing_left(here)


@pytest.mark.parametrize("state", REMOVABLE)
def test_each_waiting_state_is_cancelled_or_removed(here: Shop, state: Shelf) -> None:
    put(here, state, 3)
    assert here.control.remove_matching("mail", state) == 3
    assert listed(here, "mail", state) == []
    while here.hands.take("mail"):
        pass
    put(here, state, 3)
    assert here.control.cancel_matching("mail", state) == Cancels(3, 3)
    assert listed(here, "mail", state) == []


def test_unique_keys_are_freed_and_explicit_ids_stay_used(here: Shop) -> None:
    sender = here.app.remote("shop.go", queue="mail", unique="k", id="order-1")
    sender.enqueue(1)
    assert here.control.remove_matching("mail", "ready", GO) == 1
    assert here.app.remote("shop.go", queue="mail", unique="k").enqueue(1).created
    assert not here.app.remote("shop.go", queue="mail", id="order-1").enqueue(1).created


def test_workers_are_asked_about_what_they_hold_and_a_removal_leaves_it(here: Shop) -> None:
    here.enqueue(3, "shop.go")
    items = here.take(2)
    assert here.control.remove_matching("mail", "ready") == 1
    assert here.control.cancel_matching("mail", "leased", GO) == Cancels(2, 0, 2)
    assert set(here.broker.extend("mail", [items[0].token]).cancelled) >= {items[0].id}
    here.broker.release("mail", [Held(item.id, item.token) for item in items])


def test_who_is_stopped_in_the_middle_goes_on(here: Shop) -> None:
    _, stay = mixed(here)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.control.cancel_matching("mail", "ready", GO, on_progress=stop)
    first = here.control.cancel_matching("mail", "ready", GO, dry_run=True).found
    assert 0 < first < 300
    with pytest.raises(KeyboardInterrupt):
        here.control.remove_matching("mail", "ready", GO, on_progress=stop)
    left = here.control.cancel_matching("mail", "ready", GO)
    assert left.found == left.cancelled <= first
    assert listed(here, "mail") == stay


def test_lost_answers_do_not_change_what_is_cancelled_or_counted(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    _, stay = mixed(here)
    plain, sent = here.broker.link.pipeline, 0

    def pipeline(*args: Any, **options: Any) -> Any:
        nonlocal sent
        replies, sent = plain(*args, **options), sent + 1
        return [BrokerUnavailable("the answer got lost")] * len(replies) if sent % 7 == 0 else replies

    monkeypatch.setattr(here.broker.link, "pipeline", pipeline)
    assert here.control.cancel_matching("mail", "ready", GO) == Cancels(300, 300)
    monkeypatch.undo()
    assert sent > 7
    assert runs(here, "mail") == stay


def test_states_that_do_not_wait_are_refused(here: Shop) -> None:
    here.enqueue(1)
    control: Any = here.control
    with pytest.raises(InvalidOption, match=r"'dead' is no state in which messages are cancelled"):
        control.cancel_matching("mail", "dead")
    with pytest.raises(InvalidOption, match=r"'runing' is no state .*did you mean 'running'"):
        control.cancel_matching("mail", "runing")
    with pytest.raises(InvalidOption, match=r"'leased' is no state in which messages are removed"):
        control.remove_matching("mail", "leased")
    assert set(REMOVABLE) < set(CANCELLABLE)


# -- as it is typed


def test_messages_are_listed_for_people_and_for_scripts(operator: Operator) -> None:
    ids = texts(operator.shop.enqueue(3))
    lines = operator.ok("message", "ls", "--queue", "mail").splitlines()
    assert lines[0].split()[:4] == ["ID", "STATUS", "TASK", "PRIORITY"]
    assert [line.split()[0] for line in lines[1:]] == ids
    found = operator.objects("message", "ls", "--queue", "mail", "--task", "shop.s*", "--match", "[1]", "--data")
    assert [(one["id"], one["arguments"]) for one in found] == [(ids[1], "[1],{}")]
    assert operator.objects("message", "ls", "--queue", "mail")[0]["arguments"] is None
    page = operator("message", "ls", "--queue", "mail", "--limit", "2")
    assert "2 shown of 3; more with --cursor r2/2/" in page.stderr
    cursor = page.stderr.split("--cursor ")[1].strip()
    assert [one["id"] for one in operator.objects("message", "ls", "--queue", "mail", "--cursor", cursor)] == ids[2:]
    assert "has no dead messages" in operator("message", "ls", "--queue", "mail", "--state", "dead").stderr
    assert operator.objects("message", "ls", "--queue", "mail", "--older-than", "1h") == []
    assert len(operator.objects("message", "ls", "--queue", "mail", "--newer-than", "1h")) == 3
    assert "did you mean 'mail'" in error_of(operator("message", "ls", "--queue", "male"), 2)
    operator.shop.app.remote("shop.send", queue="mail").enqueue("\x1b[31mred")
    assert "\x1b" not in operator.ok("message", "ls", "--queue", "mail", "--data")


@pytest.mark.parametrize(("verb", "past"), [("cancel", "cancelled"), ("rm", "removed")])
def test_many_are_cancelled_or_removed_after_a_question(operator: Operator, verb: str, past: str) -> None:
    operator.shop.enqueue(3)
    operator.shop.enqueue(2, "shop.other")
    chosen = ("message", verb, "--queue", "mail", "--state", "ready", "--task", "shop.send")
    infinitive = verb if verb == "cancel" else "remove"
    assert operator.ok(*chosen, "--dry-run") == f"would {infinitive} 3 ready messages of queue mail\n"
    assert "Add --yes" in error_of(operator(*chosen), 2)
    assert operator.shop.inspector.queue("mail").ready == 5
    (told,) = operator.objects(*chosen, "--yes")
    assert (told["found"], told[past], told["dry_run"]) == (3, 3, False)
    assert operator.ok(*chosen, "--yes") == f"{past} 0 messages of queue mail\n"
    assert operator.shop.inspector.queue("mail").ready == 2


def test_a_cancel_needs_one_id_or_a_state(operator: Operator) -> None:
    (one,) = operator.shop.enqueue(1)
    both = ("x", "--queue", "mail", "--state", "ready")
    for wrong in ((), both, (id_text(one), "--task", "x"), ("--state", "ready")):
        assert error_of(operator("message", "cancel", *wrong), 2)
    assert operator.shop.inspector.queue("mail").ready == 1


def test_a_move_asks_and_tells(operator: Operator) -> None:
    ids = texts(operator.shop.enqueue(3))
    assert "there is no queue 'post'" in error_of(operator("queue", "move", "mail", "post", "--yes"), 2)
    chosen = ("queue", "move", "mail", "post", "--create")
    assert operator.ok(*chosen, "--dry-run") == "would move 3 ready messages\n"
    assert "Add --yes" in error_of(operator(*chosen), 2)
    assert operator.ok("queue", "move", "mail", "post", ids[1], "--create") == "moved 1 message of mail to post\n"
    (told,) = operator.objects(*chosen, "--yes")
    expected = {"queue": "mail", "to": "post", "found": 2, "moved": 2, "refused": {}, "resumed": 0, "stale": 0}
    assert told == expected | {"dry_run": False}
    assert sorted(runs(operator.shop, "post")) == sorted(ids)
    sender = operator.shop.app.remote("shop.send", queue="mail", unique="k")
    sender.enqueue(1)
    operator.shop.app.remote("shop.send", queue="post", unique="k").enqueue(1)
    done = operator("queue", "move", "mail", "post", "--yes")
    assert (done.returncode, done.stdout) == (0, "moved 0 messages of mail to post\n")
    assert "1 message left where they are: their unique key is held in that queue" in done.stderr
    assert "not both" in error_of(operator("queue", "move", "mail", "post", ids[0], "--state", "ready"), 2)


def test_pausing_and_resuming_speak_json(operator: Operator) -> None:
    operator.shop.enqueue(1)
    assert operator.objects("queue", "pause", "mail") == [{"queue": "mail", "paused": True}]
    assert operator.objects("queue", "resume", "mail") == [{"queue": "mail", "paused": False}]

    operator.shop.app.task(name="shop.send", queue="mail")(send)
    operator.shop.app.schedules.add("tick", "shop.send", every=3_600, args=(1,))
    for verb, state in (("pause", "paused"), ("resume", "active")):
        (told,) = operator.objects("schedule", verb, "tick")
        assert (told["name"], told["state"]) == ("tick", state)
    assert operator.objects("schedule", "remove", "tick") == [{"name": "tick", "removed": True}]
    assert json.loads(operator.ok("schedule", "prune", "--json", "--yes"))["removed"] == []
