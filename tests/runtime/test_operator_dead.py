"""`taskq dead` as it is typed, what it asks on a terminal, and what it never lets through."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.message import id_text
from taskq.store import keys
from tests.runtime.operating import Operator, error_of, operating
from tests.servers import RealServer


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


def test_dead_letters_are_listed_and_filtered(operator: Operator) -> None:
    assert "no dead letters" in operator("dead", "ls").stderr
    operator.shop.bury(2, "shop.send", "smtp.Refused", "no route")
    begun = operator.shop.inspector.server_ms()
    while operator.shop.inspector.server_ms() == begun:  # of two that died in one millisecond none is the newer one
        pass
    operator.shop.bury(1, "shop.scan", "builtins.ValueError", "bad", queue="scans")
    lines = operator.ok("dead", "ls").splitlines()
    assert len(lines) == 4
    assert "shop.scan" in lines[1]
    assert {item["task"] for item in operator.objects("dead", "ls", "--error", "Refused")} == {"shop.send"}
    assert len(operator.objects("dead", "ls", "--queue", "scans", "--match", "BAD")) == 1
    assert len(operator.objects("dead", "ls", "--since", "1h", "--task", "shop.*")) == 3
    nothing = operator("dead", "ls", "--error", "KeyError")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "none of 3 dead letters fits" in nothing.stderr
    assert "no duration" in error_of(operator("dead", "ls", "--since", "soon"), 2)
    assert "no queue 'scam'" in error_of(operator("dead", "ls", "--queue", "scam"), 2)


def test_a_long_list_says_how_to_go_on(operator: Operator) -> None:
    ids = operator.shop.bury(5)
    first = operator("dead", "ls", "--queue", "mail", "--limit", "3", "--json")
    assert "3 shown, 5 in all; more with --queue mail --cursor " in first.stderr
    chosen = operator("dead", "ls", "--match", "NO TEA", "--limit", "1").stderr
    assert "1 shown; 5 in all, before the filter; more with" in chosen
    cursor = first.stderr.split()[-1]
    rest = operator.objects("dead", "ls", "--queue", "mail", "--cursor", cursor)
    seen = [json.loads(line)["id"] for line in first.stdout.splitlines()] + [item["id"] for item in rest]
    assert sorted(seen) == sorted(map(id_text, ids))
    assert "--queue" in error_of(operator("dead", "ls", "--cursor", cursor), 2)


def test_one_dead_letter_is_shown_with_its_traceback_and_its_arguments_on_demand(operator: Operator) -> None:
    (raw,) = operator.shop.bury(1, text="first line\nsecond line")
    text = operator.ok("dead", "show", id_text(raw))
    assert "status      dead since" in text
    assert "builtins.ValueError: first line" in text
    assert "second line" in text
    assert "args" not in text
    assert "args        [0]" in operator.ok("dead", "show", id_text(raw), "--data")
    (told,) = operator.objects("dead", "show", id_text(raw), "--data", "--queue", "mail")
    assert (told["status"], told["args"], told["history"][0]["worker"]) == ("dead", [0], "worker-1")
    (alive,) = operator.shop.enqueue(1)
    assert "is no dead letter: it is ready" in error_of(operator("dead", "show", id_text(alive)), 1)
    assert "no trace of message nonsense" in error_of(operator("dead", "show", "nonsense"), 1)


def test_dead_letters_are_retried_by_id_by_filter_and_all(operator: Operator) -> None:
    one, *_ = operator.shop.bury(3, "shop.send")
    operator.shop.bury(2, "shop.scan", queue="scans")
    assert operator.ok("dead", "retry", id_text(one)) == "retried 1 dead letter\n"
    info = operator.shop.inspector.message("mail", one)
    assert (info.status, info.attempts, info.deliveries, info.result) == ("ready", 0, 0, None)
    again = operator("dead", "retry", id_text(one), "nonsense")
    assert again.returncode == 1
    assert f"no dead letter has the id {id_text(one)}" in again.stderr
    assert "no dead letter has the id nonsense" in again.stderr
    refused = error_of(operator("dead", "retry", "--all"), 2)
    assert "Retry 4 dead letters (2 in mail, 2 in scans)?" in refused
    assert operator.ok("dead", "retry", "--all", "--dry-run") == "would retry 4 dead letters\n"
    assert operator.objects("dead", "retry", "--task", "shop.scan", "--yes") == [
        {"retried": 2, "found": 2, "dry_run": False}
    ]
    assert operator.ok("dead", "retry", "--all", "--yes", "--rate", "1000") == "retried 2 dead letters\n"
    assert operator.ok("dead", "retry", "--all") == "retried 0 dead letters\n"


def test_dead_letters_are_removed(operator: Operator) -> None:
    ids = operator.shop.bury(3)
    operator.shop.bury(2, quarantine=True)
    assert operator.ok("dead", "rm", *map(id_text, ids[:2])) == "removed 2 dead letters\n"
    assert "--yes" in error_of(operator("dead", "rm", "--match", "tea"), 2)
    assert operator.ok("dead", "rm", "--match", "tea", "--yes") == "removed 1 dead letter\n"
    assert len(operator.objects("dead", "ls", "--quarantined")) == 2
    assert operator.ok("dead", "rm", "--all", "--quarantined", "--yes") == "removed 2 dead letters\n"
    assert operator.shop.leftovers().get("body") is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "name ids, give a filter, or say --all"),
        (["rm", "some-id", "--all"], "ids or a filter, not both"),
        (["rm", "some-id", "--task", "x"], "ids or a filter, not both"),
        (["retry", "--all", "--task", "x"], "--all leaves no room"),
        (["retry", "--all", "--rate", "0"], "--rate"),
        (["ls", "--limit", "0"], "--limit"),
    ],
)
def test_a_bulk_action_has_to_say_clearly_what_it_means(operator: Operator, arguments: list[str], said: str) -> None:
    assert said in error_of(operator("dead", *arguments), 2)


def on_a_terminal(operator: Operator, answer: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and type an answer when it asks."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        operator.command(*arguments),
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=operator.folder,
        env=operator.env | {"TERM": "xterm"},
        close_fds=True,
    )
    os.close(side)
    said, answered = b"", False
    while select.select([main], [], [], 60)[0]:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other side was closed: it has ended
            break
        if not part:
            break
        said += part
        if b"[y/N]" in said and not answered:
            answered = True
            os.write(main, answer)
    os.close(main)
    return process.wait(60), said.decode()


def test_on_a_terminal_it_shows_the_count_and_asks(operator: Operator) -> None:
    operator.shop.bury(2)
    code, said = on_a_terminal(operator, b"n\n", "dead", "retry", "--all")
    assert code == 1
    assert "Retry 2 dead letters (2 in mail)? [y/N]" in said
    assert "nothing was done" in said
    assert operator.shop.inspector.queue("mail").dead == 2
    code, said = on_a_terminal(operator, b"y\n", "dead", "retry", "--all")
    assert code == 0
    assert "mail: retried 2 of 2" in said
    assert operator.shop.inspector.queue("mail").ready == 2


def test_a_table_on_a_terminal_has_a_bold_head_unless_colour_is_unwanted(operator: Operator) -> None:
    operator.shop.enqueue(1)
    assert "\x1b[1mQUEUE" in on_a_terminal(operator, b"", "queue", "ls")[1]
    operator.env["NO_COLOR"] = "1"
    assert "\x1b" not in on_a_terminal(operator, b"", "queue", "ls")[1]


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202eevil\u2066 \r\nnext\x9b1m"


def test_stored_data_cannot_command_a_terminal(operator: Operator) -> None:
    (raw,) = operator.shop.enqueue(1)
    operator.shop.bury_all(operator.shop.take(1), f"shop.{HOSTILE}", f"E{HOSTILE}", f"text {HOSTILE}")
    handle = operator.shop.app.remote("shop.send", queue="mail").enqueue(HOSTILE, key=HOSTILE)
    operator.shop.broker.link.execute("SADD", keys.queues(operator.shop.app.namespace), "odd-name")
    record = json.dumps({"id": HOSTILE, "state": HOSTILE, "queues": [HOSTILE], "version": HOSTILE})
    operator.shop.broker.link.execute("ZADD", keys.workers(operator.shop.app.namespace), 1, HOSTILE)
    operator.shop.broker.link.execute("SET", keys.worker_record(operator.shop.app.namespace, HOSTILE), record)
    commands = [
        ("dead", "ls"),
        ("dead", "ls", "--json"),
        ("dead", "show", id_text(raw), "--data"),
        ("message", "show", handle.id, "--data"),
        ("message", "show", handle.id, "--data", "--json"),
        ("message", "show", HOSTILE),
        ("queue", "pause", HOSTILE),
        ("workers", "ls"),
        ("run", f"x{HOSTILE}"),
        ("dead", "ls", "--queue", HOSTILE),
    ]
    for arguments in commands:
        done = operator(*arguments)
        said = done.stdout + done.stderr
        assert said
        bad = [sign for sign in said if sign != "\n" and (not sign.isprintable() or sign in "\u202e\u2066")]
        assert not bad, (arguments, bad)


def test_a_reader_that_goes_away_is_no_trouble(operator: Operator) -> None:
    operator.shop.bury(1_000, text="x" * 300)
    command = operator.command("dead", "ls", "--limit", "1000", "--json")
    process = subprocess.Popen(
        command, cwd=operator.folder, env=operator.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 1
    process.stderr.close()
    assert b"Traceback" not in said
    assert b"Exception" not in said
