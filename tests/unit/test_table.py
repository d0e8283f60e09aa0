"""The table of a child: what one side writes the other side reads, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq_workers import table as tables
from taskq_workers.table import Command, Counters, HeldToken, Running, State, Table

ROOT = Path(__file__).parents[2]


def an_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def a_token(number: int) -> bytes:
    return number.to_bytes(4, "big") * 5


@pytest.fixture
def ends() -> Iterator[tuple[Table, Table]]:
    """The supervisor's end and the child's end of one table of four slots."""
    supervisor = Table.create(4)
    child = Table.attach(os.dup(supervisor.fileno()), 4)
    yield supervisor, child
    child.close()
    supervisor.close()


def test_a_new_table_is_empty(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    assert (supervisor.held(), supervisor.running(), supervisor.journal_ids()) == ([], [], set())
    assert (supervisor.state, child.command(), child.recalled()) == (State.STARTING, Command.NONE, False)
    assert (child.new_lost(), child.new_cancels(), supervisor.counters()) == ([], [], Counters())
    assert (supervisor.last_tick, supervisor.nonce) == (0.0, bytes(8))


def test_the_child_says_who_it_is(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    child.sign_in(b"nonce678")
    child.set_state(State.RUNNING)
    child.tick(12.5)
    child.set_counters(5, 4, 3, 2, 1)
    assert (supervisor.pid, supervisor.nonce, supervisor.state) == (os.getpid(), b"nonce678", State.RUNNING)
    assert supervisor.last_tick == 12.5
    assert supervisor.counters() == Counters(done=5, failed=4, retried=3, dead=2, lost=1)


def test_a_lease_call_is_seen_from_its_announcement_until_it_is_freed(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    first, second = child.announce(3, a_token(1)), child.announce(700, a_token(2))
    assert first is not None
    assert second is not None
    assert supervisor.held() == [HeldToken(first, 3, a_token(1)), HeldToken(second, 700, a_token(2))]
    child.free(first)
    assert supervisor.held() == [HeldToken(second, 700, a_token(2))]


def test_without_a_free_entry_no_lease_call_may_be_sent(ends: tuple[Table, Table]) -> None:
    _, child = ends
    entries = {child.announce(0, a_token(number)) for number in range(child.entries)}
    assert None not in entries
    assert child.announce(0, a_token(999)) is None
    child.free(17)
    assert child.announce(0, a_token(999)) == 17


def test_a_started_message_is_seen_until_it_is_cleared(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    child.start(2, 5, 9, an_id(7), a_token(7), 100.25, 130.5, once=True)
    child.start(0, 1, tables.UNKNOWN_TASK, an_id(8), a_token(8), 101.0, 0.0)
    assert supervisor.running() == [
        Running(0, 2, False, 1, tables.UNKNOWN_TASK, an_id(8), a_token(8), 101.0, 0.0),
        Running(2, 1, True, 5, 9, an_id(7), a_token(7), 100.25, 130.5),
    ]
    child.clear(2)
    assert [run.slot for run in supervisor.running()] == [0]


def test_the_journal_remembers_what_has_ended_and_forgets_the_oldest(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    for number in range(1, tables.JOURNAL_IDS + 3):
        child.start(0, 0, 0, an_id(number), a_token(1), 0.0, 0.0)
        child.clear(0)
    ids = supervisor.journal_ids()
    assert len(ids) == tables.JOURNAL_IDS
    assert an_id(2) not in ids
    assert {an_id(3), an_id(tables.JOURNAL_IDS + 2)} <= ids


def test_a_lost_token_is_told_once(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    entry = child.announce(0, a_token(1))
    assert entry is not None
    supervisor.set_lost(entry, a_token(1))
    assert child.new_lost() == [entry]
    assert child.new_lost() == []


def test_a_loss_never_hits_the_next_token_in_the_same_entry(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    entry = child.announce(0, a_token(1))
    assert entry is not None
    child.free(entry)
    assert child.announce(0, a_token(2)) == entry
    supervisor.set_lost(entry, a_token(1))
    assert child.new_lost() == []
    supervisor.set_lost(entry, a_token(2))
    assert child.new_lost() == [entry]


def test_cancels_arrive_in_order_and_an_overrun_keeps_the_newest(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    supervisor.post_cancel(an_id(1), False)
    supervisor.post_cancel(an_id(2), True)
    assert child.new_cancels() == [(an_id(1), False), (an_id(2), True)]
    for number in range(100):
        supervisor.post_cancel(an_id(number), False)
    assert child.new_cancels() == [(an_id(number), False) for number in range(100 - tables.CANCEL_ENTRIES, 100)]
    assert child.new_cancels() == []


def test_a_command_is_never_taken_back_by_a_weaker_one(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    supervisor.send(Command.GIVE_BACK)
    supervisor.send(Command.QUIET)
    assert child.command() is Command.GIVE_BACK


def test_a_recall_has_a_number_of_its_own(ends: tuple[Table, Table]) -> None:
    supervisor, child = ends
    before = child.recall_number()
    supervisor.begin_recall()
    assert child.recalled()
    supervisor.end_recall()
    assert not child.recalled()
    assert child.recall_number() > before


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(bytes(1_000_000))
    with path.open("r+b") as file, pytest.raises(ValueError, match="is not a table"):
        Table.attach(os.dup(file.fileno()), 4)


def test_a_table_for_other_slots_is_refused() -> None:
    table = Table.create(4)
    with pytest.raises(ValueError, match="with 3 slots"):
        Table.attach(os.dup(table.fileno()), 3)
    table.close()


def test_a_reader_never_sees_a_mixture_of_two_messages(ends: tuple[Table, Table]) -> None:
    """A process writes as fast as it can; id, token and deadlines of what is read must belong together."""
    supervisor, _ = ends
    program = """if True:
        import sys
        from taskq_workers.table import Table
        table, number = Table.attach(int(sys.argv[1]), 4), 0
        while True:
            number += 1
            table.start(1, number % 60000, 3, number.to_bytes(16, "big"), number.to_bytes(4, "big") * 5, number, number)
            entry = table.announce(number % 60000, (number % 60000).to_bytes(4, "big") * 5)
            table.clear(1)
            table.free(entry)
    """
    path = os.pathsep.join((str(ROOT), str(ROOT / "workers")))
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(supervisor.fileno())],
        pass_fds=[supervisor.fileno()],
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        seen = 0
        while seen < 2000:
            assert child.poll() is None
            for run in supervisor.running():
                number = int(run.started)
                assert run == Running(
                    1, number, False, number % 60000, 3, an_id(number), a_token(number), number, number
                )
                seen += 1
            for held in supervisor.held():
                assert held.token == a_token(held.queue)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_what_a_killed_child_ran_is_still_there(ends: tuple[Table, Table]) -> None:
    supervisor, _ = ends
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child = Table.attach(os.dup(supervisor.fileno()), 4)
        child.announce(1, a_token(1))
        child.start(3, 1, 0, an_id(1), a_token(1), time.monotonic(), 0.0)
        os.write(write, b"x")
        threading.Event().wait()
    os.read(read, 1)
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert [run.id for run in supervisor.running()] == [an_id(1)]
    assert [held.token for held in supervisor.held()] == [a_token(1)]
    os.close(read)
    os.close(write)
