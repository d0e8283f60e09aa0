"""`taskq queue history` and `taskq queue replay` as they are typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.message import id_text
from taskq.tasks.replays import Replay
from tests.runtime.operating import Operator, error_of, operating
from tests.runtime.past import Past, past
from tests.servers import RealServer


@pytest.fixture
def operator(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[Past]:
    with past(server, namespace) as one:
        yield one


def test_history_is_shown_to_people_and_to_scripts(operator: Operator, here: Past) -> None:
    ids = [id_text(one) for one in here.enqueue(3)]
    here.take(1)
    here.append("\x1b[31m", "red")
    lines = operator.ok("queue", "history", "mail").splitlines()
    assert lines[0].split() == ["ENTRY", "TIME", "PLACE", "MESSAGE", "TASK", "BYTES"]
    assert [line.split()[3:6] for line in lines[1:4]] == [
        [place, one, "shop.send"] for place, one in zip(["pending", "unread", "unread"], ids, strict=True)
    ]
    assert lines[4].split()[3:6] == ["unread", "(foreign)", "?"]
    assert "\x1b" not in "".join(lines)
    told = operator.objects("queue", "history", "mail", "--from", "1h", "--match", "shop.*", "-n", "2", "--newest")
    assert [one["id"] for one in told] == ids[:0:-1]
    assert "args" not in told[0]
    told = operator.objects("queue", "history", "mail", "--data")
    assert [one["args"] for one in told] == [[0], [1], [2], None]
    assert told[3]["foreign"]
    assert "was not written by taskq" in told[3]["problem"]


def test_a_list_that_is_cut_says_how_to_go_on(operator: Operator, here: Past) -> None:
    here.enqueue(5)
    first = operator("queue", "history", "mail", "-n", "3")
    (cursor,) = re.findall(r"3 shown; more with --cursor (\S+)", first.stderr)
    rest = operator.ok("queue", "history", "mail", "--cursor", cursor).splitlines()
    assert len(rest) == 3
    assert "no history there" in operator("queue", "history", "mail", "--to", "2020-01-01T00:00Z").stderr
    assert "nothing fits of what was looked at: 5" in operator("queue", "history", "mail", "--match", "x").stderr


def test_a_replay_asks_first_says_its_label_and_is_done_once(operator: Operator, here: Past) -> None:
    here.enqueue(3)
    line = ("queue", "replay", "mail", "--from", "1h")
    refused = error_of(operator(*line), 2)
    assert "Replay 3 messages of queue mail?" in refused
    assert "--yes" in refused
    assert "would replay 3 messages of queue mail (label a)" in operator.ok(*line, "--dry-run", "--label", "a")
    done = operator(*line, "--yes", "--into", "copies")
    assert "finished before" not in done.stdout
    (label,) = re.findall(r"label (\S+)\n", done.stderr)
    assert done.stdout == f"replayed 3 messages of queue mail (label {label})\n"
    (told,) = operator.objects("queue", "replay", "mail", "--label", label, "--yes")
    assert told == {
        "queue": "mail",
        "label": label,
        "looked": 3,
        "enqueued": 3,
        "already": 0,
        "skipped": 0,
        "trimmed": False,
        "over": True,
        "dry_run": False,
    }
    again = ("queue", "replay", "mail", "--label", label)
    before = f"of queue mail: label {label} was finished before"
    assert operator.ok(*again) == f"replayed nothing {before}, with 3 messages\n"
    assert operator.ok(*again, "--dry-run") == f"would replay nothing {before}\n"
    assert len(here.sources(label, "copies")) == 3


def test_a_replay_into_a_queue_that_was_never_used_asks_for_create(operator: Operator, here: Past) -> None:
    here.enqueue(3)
    line = ("queue", "replay", "mail", "--from", "1h", "--into", "fresh", "--label", "a")
    assert "there is no queue 'fresh'" in error_of(operator(*line, "--yes"), 2)
    assert "would replay 3 messages" in operator.ok(*line, "--create", "--dry-run")
    assert "fresh" not in here.inspector.queue_names()[0]
    assert "replayed 3 messages" in operator.ok(*line, "--create", "--yes")
    assert here.inspector.queue("fresh").ready == 3
    assert "--create belongs to --into" in error_of(operator("queue", "replay", "mail", "--from", "1h", "--create"), 2)


def test_a_label_that_was_begun_otherwise_is_told_in_the_words_of_the_command(operator: Operator, here: Past) -> None:
    here.enqueue(1)
    line = ("queue", "replay", "mail", "--yes", "--label", "fix")
    operator.ok(*line, "--from", "2026-01-01T00:00Z")
    way = "leave --from, --to, --match and --into out to go on with it, or take another --label"
    for given, begun in (
        ("--from 1h", "with --from 2026-01-01T00:00:00.000+00:00"),
        ("--to 2026-02-01T00:00Z", "without --to"),
        ("--match shop.*", "without --match"),
        ("--into copies", "with --into mail"),
    ):
        said = error_of(operator(*line, *given.split(" ", 1)), 2)
        assert f"error: replay 'fix' of queue 'mail' was begun {begun}, not with {given}: {way}\n" in said


def test_who_is_interrupted_is_told_how_to_go_on(
    operator: Operator, here: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.enqueue(3)
    plain, steps = Replay.step, 0

    def step(self: Replay, limit: int = 250) -> bool:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise KeyboardInterrupt
        return plain(self, limit)

    monkeypatch.setattr(Replay, "step", step)
    stopped = operator("queue", "replay", "mail", "--from", "1h", "--label", "mine", "--rate", "4", "--yes")
    assert stopped.returncode == 130
    assert "stopped; go on with: taskq queue replay mail --label mine" in stopped.stderr
    assert len(here.sources("mine")) == 1
    assert "replayed 3 messages" in operator.ok("queue", "replay", "mail", "--label", "mine", "--yes")
    assert len(set(here.sources("mine"))) == len(here.sources("mine")) == 3


def test_a_range_that_was_trimmed_meanwhile_ends_with_a_code(operator: Operator, here: Past) -> None:
    here.enqueue(4)
    with pytest.raises(KeyboardInterrupt):
        here.control.replay("mail", 0.0, label="mine", rate=4, on_progress=interrupt)
    here.broker.link.execute("XTRIM", here.broker.keys("mail").stream, "MINID", here.entries()[2].entry)
    assert "messages are missing" in error_of(operator("queue", "replay", "mail", "--label", "mine", "--yes"), 1)


def interrupt(done: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.crash
def test_a_process_that_is_killed_in_the_middle_has_lost_and_doubled_nothing(operator: Operator, here: Past) -> None:
    ids = sorted(id_text(one) for one in here.enqueue(400))
    line = operator.command("queue", "replay", "mail", "--from", "1h", "--label", "mine", "--rate", "40", "--yes")
    process = subprocess.Popen(line, cwd=operator.folder, env=operator.env)
    try:
        while here.inspector.queue("mail").counters["enqueued"] < 420:
            assert process.poll() is None, "it ended by itself"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = len(here.sources("mine"))
    assert 20 <= before < 400
    assert "replayed 400 messages" in operator.ok("queue", "replay", "mail", "--label", "mine", "--yes")
    assert here.sources("mine") == ids


def test_bad_input_is_a_usage_error_and_names_the_way_out(operator: Operator, here: Past) -> None:
    here.enqueue(1)
    replay = ("queue", "replay", "mail", "--yes")
    for arguments, said in [
        (("queue", "history", "lists"), "queue 'lists' is a list queue, which keeps no history"),
        (("queue", "history", "male"), "there is no queue 'male'"),
        (("queue", "history", "mail", "--data"), "--data belongs to --json"),
        (("queue", "history", "mail", "--from", "2026-01-01T00:00"), "has no time zone: add Z"),
        (("queue", "history", "mail", "--from", "noon\x1b[31m"), "is no moment: write 2026-11-24T18:30+01:00"),
        (("queue", "history", "mail", "--from", "1h", "--to", "2h"), "is after until="),
        (replay, "say from when with --from, or go on with --label"),
        ((*replay, "--label", "new"), "knows no replay 'new': give since= (--from)"),
        ((*replay, "--from", "1h", "--label", "a b"), "label name 'a b' is not valid"),
        ((*replay, "--from", "1h", "--into", "copy"), "there is no queue 'copy'"),
        ((*replay, "--from", "1h", "--rate", "0"), "--rate"),
    ]:
        refused = error_of(operator(*arguments), 2)
        assert said in refused, arguments
        assert "\x1b" not in refused
    assert here.inspector.queue("mail").counters["enqueued"] == 1


def test_the_list_of_queues_tells_the_transport(operator: Operator, here: Past) -> None:
    here.enqueue(2)
    head, *rows = [line.split() for line in operator.ok("queue", "ls").splitlines()]
    assert head[-1] == "TRANSPORT"
    assert {row[0]: row[-1] for row in rows} == {"copies": "stream", "lists": "list", "mail": "stream"}
    (told,) = operator.objects("queue", "ls", "mail")
    assert (told["transport"], told["stream"]["entries"], told["stream"]["unread"]) == ("stream", 2, 2)
    assert told["stream"]["retain"]["count"] == 1_000_000
