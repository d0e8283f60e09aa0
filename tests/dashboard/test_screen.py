"""The dashboard as somebody sees it: a real process at a pseudo-terminal, a real server, every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from taskq.message import id_text
from tests.dashboard.glass import Glass
from tests.dashboard.scene import Scene, fill

pytestmark = pytest.mark.topics  # each scene has some

SIZES = [(80, 24), (160, 48)]


def opened(scene: Scene, *options: str, size: tuple[int, int] = (80, 24), env: Mapping[str, str] = {}) -> Glass:
    fill(scene.shop, scene.url)
    glass = scene.open(*options, size=size, env=env)
    glass.see("live", "queues 2", "mail")
    return glass


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x48"])
def test_every_view_shows_what_there_is(scene: Scene, size: tuple[int, int]) -> None:
    with opened(scene, size=size) as glass:
        text = glass.see("flow", "running now 1", "shop.resize", "q quit")
        words, numbers = (text.splitlines()[at] for at in (2, 3))
        assert words.split()[:4] == ["enqueued", "ready", "running", "done"]
        assert words.index("running") == numbers.index("1 of 8")
        assert "paused: news" in text
        assert "dead 3" in text
        assert "parked 2" in text
        assert re.search(r"mail +5 ", text)
        assert re.search(r"news +⏸ +2 ", text)
        assert text.splitlines()[0].startswith(" taskq t")

        glass.press("2")
        glass.gone("flow")
        assert re.search(r"mail +5 ", glass.see("queues 2"))

        glass.press("3")
        glass.see("ready in mail", "shop.send")
        for tab, task in (("delayed", "shop.later"), ("retrying", "nothing yet"), ("running", "shop.resize")):
            glass.press("tab")
            glass.see(f"{tab} in mail", task)
        glass.press("tab")
        glass.see("parked in mail", "shop.forgotten")
        glass.press("tab", "right")
        glass.see("ready in news", "shop.news")
        glass.press("left")
        glass.see("ready in mail", "shop.send")

        glass.press("4")
        glass.see("workers 1", "host-1", "shop.resize", "30 s", "C cancel")

        glass.press("5")
        glass.see("dead in mail", "ValueError", "D delete")
        glass.press("tab")
        glass.see("quarantined in mail", "nothing yet")
        glass.press("backtab")
        glass.see("dead in mail", "ValueError")

        glass.press("6")
        glass.see("schedules 1", "nightly", "0 3 * * *")
        glass.press("enter")
        glass.see("schedule nightly", "a call at run time")
        glass.press("esc", "7")
        glass.see("topics 1", "orders", "groups of orders", "billing")
        glass.press("enter")
        glass.see("topic orders", "partitions 2", "group billing, ordered")
        glass.press("esc", "?")
        glass.see("Capitals cannot be undone")
        glass.press("esc", "1")
        glass.see("flow")
        glass.press("q")
        assert glass.end() == 0
        glass.check_whole()


def test_a_message_with_hostile_arguments_is_shown_and_commands_nothing(scene: Scene) -> None:
    with opened(scene, size=(160, 48)) as glass:
        glass.press("5")
        glass.see("dead in mail", "\\x1b[2J\\x1b]0;owned\\x07 two\\nlines \\u202egnp 漢")
        glass.press("G", "enter")
        # a screen arrives in pieces, so all that is looked at below is waited for
        text = glass.see("arguments", "timeline", "in a shell", "taskq dead retry", " esc back  r retry  D delete")
        assert "\\u001b[2J" in text or "\\x1b[2J" in text
        assert glass.screen.title == ""
        assert text.splitlines()[-1].startswith(" esc back  r retry  D delete")
        assert b"\x1b]0;owned" not in glass.raw
        glass.press("q")
        assert glass.end() == 0


def test_queues_and_schedules_are_paused_and_resumed(scene: Scene) -> None:
    control = scene.shop
    with opened(scene) as glass:
        glass.press("p")
        glass.see("paused queue mail")
        glass.match(r"mail +⏸")
        assert control.inspector.queue("mail").paused
        glass.press("p")
        glass.see("resumed queue mail")
        assert not control.inspector.queue("mail").paused
        glass.press("6")
        glass.see("nightly")
        glass.press("p")
        glass.see("paused schedule nightly")
        glass.match(r"nightly +⏸")
        assert control.app.schedules.get("nightly").state == "paused"
        glass.press("p")
        glass.see("resumed schedule nightly")
        assert control.app.schedules.get("nightly").state == "active"


def test_messages_are_cancelled_retried_and_deleted(scene: Scene) -> None:
    shop = scene.shop
    with opened(scene) as glass:
        glass.press("5")
        glass.see("dead in mail", "D delete")
        glass.press("D")
        glass.see("deleted 1 of queue mail")
        assert shop.inspector.queue("mail").dead == 2
        glass.press("space", "space", "r")
        glass.see("retry 2 dead letters of queue mail: y/n")
        glass.press("n")
        glass.see("nothing was done")
        assert shop.inspector.queue("mail").dead == 2
        glass.press("r", "y")
        glass.see("retried 2 of queue mail")
        assert (shop.inspector.queue("mail").dead, shop.inspector.queue("mail").ready) == (0, 7)

        glass.press("3")
        glass.see("ready in mail", "shop.send")
        glass.press("C")
        glass.see("cancelled 1 of queue mail")
        assert shop.inspector.queue("mail").ready == 6
        glass.press("4")
        glass.see("shop.resize", "C cancel")
        glass.press("C")
        glass.see("asked to stop 1 of queue mail")


def test_everything_that_waits_and_fits_is_cancelled(scene: Scene) -> None:
    shop = scene.shop
    with opened(scene, size=(160, 48)) as glass:
        shop.enqueue(1_200, "shop.many")
        glass.press("3")
        glass.see("ready in mail", "shop.many")
        glass.press("/", "shop.many", "enter")
        glass.see("/shop.many", "▸")
        glass.press("A")
        glass.see("all 1,200 that fit are marked")
        glass.press("C")
        glass.see("cancel 1,200 ready messages of queue mail that fit 'shop.many': y/n")
        glass.press("y")
        glass.see("cancelled 1,200 of queue mail")
        assert shop.inspector.queue("mail").ready == 5


def test_the_filter_shows_what_fits(scene: Scene) -> None:
    shop = scene.shop
    (one,) = shop.bury(1, "shop.other", "builtins.KeyError", "where is it", "mail")
    with opened(scene) as glass:
        glass.press("/", "new")
        glass.see("/new", "queues 1")
        glass.press("esc")
        glass.see("queues 2")
        glass.press("5")
        glass.see("ValueError", "KeyError")
        for text in ("KEYERR", "other", "where", id_text(one)[-12:]):
            glass.press("/", text, "enter")
            glass.gone("ValueError")
            glass.see("KeyError", f"/{text}")
            glass.press("esc")
            glass.see("ValueError")
        glass.press("3", "/", "nothing like it", "enter")
        glass.see("nothing fits the filter")


def test_read_only_offers_nothing_that_changes_anything(scene: Scene) -> None:
    shop = scene.shop
    with opened(scene, "--read-only") as glass:
        assert "read only" in glass.text()
        glass.press("p", "5")
        bar = glass.see("dead in mail", "ValueError").splitlines()[-1]
        assert "open" in bar
        assert not any(word in bar for word in ("retry", "delete", "mark", "pause"))
        glass.press("r", "D", "space", "A", "r", "y", "2")
        glass.see("queues 2")
        assert (shop.inspector.queue("mail").dead, shop.inspector.queue("mail").paused) == (3, False)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_without_colour_or_utf8_it_is_still_readable(scene: Scene, env: dict[str, str]) -> None:
    with opened(scene, env=env) as glass:
        text = glass.see("news", "paused: news", "q quit")
        assert glass.here()
        glass.press("5")
        glass.see("dead in mail", "ValueError")
        if "LC_ALL" in env:
            assert text.isascii()
            assert glass.raw.isascii()
            assert re.search(r"news +\|\|", text)
        else:
            assert re.search(r"news +⏸", text)
            assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", glass.raw)


def test_keys_torn_apart_and_pasted_text_do_no_harm(scene: Scene) -> None:
    shop = scene.shop
    with opened(scene) as glass:
        glass.press("5")
        glass.see("dead in mail", "ValueError")
        glass.write(b"\x1b")
        glass.write(b"[")
        glass.write(b"D")  # the left arrow: another queue, not a letter less
        glass.see("dead in news", "nothing yet")
        glass.write(b"\x1b[200~D\nDDD\x1b[201~")
        glass.press("right")
        glass.see("dead in mail", "ValueError")
        assert shop.inspector.queue("mail").dead == 3


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("end", ["it is stopped", "somebody leaves", "nothing is left"])
def test_letters_that_fit_a_filter_are_retried_from_the_screen(scene: Scene, end: str, count: int) -> None:
    shop = scene.shop
    shop.broker.limits = replace(shop.broker.limits, dead=2 * count)
    shop.bury(count, "shop.send", "net.Refused", "no route", "mail")
    shop.bury(20, "shop.send", "builtins.KeyError", "other", "mail")
    gate = scene.operator.folder / "gate"
    with scene.script("gated.py", scene.url, shop.app.namespace, "1000", str(gate)) as glass:
        glass.see("live", "mail")
        glass.press("5")
        glass.see("dead in mail", "KeyError")
        glass.press("/", "refused", "enter")
        glass.gone("KeyError")
        glass.see("Refused")
        glass.press("A")
        glass.see(f"all {count:,} that fit are marked")
        glass.press("r")
        glass.see(f"retry {count:,} dead letters of queue mail that fit 'refused': y/n")
        glass.press("y")
        held = glass.match(rf"retrying (1,[0-9]{{3}}) of {count:,} in mail")[1]
        glass.see("esc stop")
        glass.press("2")
        glass.see("queues 1")  # the screen lives meanwhile
        if end != "nothing is left":
            glass.press("q" if end == "somebody leaves" else "esc")
            glass.see(f"retrying {held} of {count:,} in mail, stopping")
        gate.touch()
        glass.see(
            f"retried {count:,} of queue mail" if end == "nothing is left" else f"stopped: retried {held} of {count:,}"
        )
        retried = count if end == "nothing is left" else int(held.replace(",", ""))
        info = shop.inspector.queue("mail")
        assert (info.dead, info.ready) == (count + 20 - retried, retried)
        if end != "somebody leaves":
            glass.press("q")
        assert glass.end() == 0
        glass.check_whole()
