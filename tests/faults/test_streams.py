"""What others do to the stream under a running worker (group H): nothing is lost or runs twice, and it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults import meddling
from tests.faults.history import pending_of
from tests.faults.meddling import Meddling, meddle
from tests.faults.stage import Stage, stage
from tests.runtime.world import Worker
from tests.servers import RealServer

pytestmark = pytest.mark.crash

GONE = "were gone before they were read; their messages are appended anew"
REMOVED = "somebody removed the consumer group, the stream or what goes with it"
FOREIGN = "are no messages of taskq"
WAITING = 120


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[Stage]:
    with stage(server, namespace, 2.0, "stream") as one:
        yield one


def busy(here: Stage) -> Worker:
    """A worker that is held up by its first message, with history behind it and much unread before it."""
    worker = here.hire("-c", "1")
    for n in range(5):
        here.put("quick", f"before{n}")
    here.settled()
    here.put("gated", "held", here.gate("g"))
    here.hear("start", "held")
    for n in range(WAITING):
        here.put("quick", f"m{n}")
    here.until(lambda: here.stream.unread > 0 and pending_of(here.broker, "work") > 0, "messages to be read and unread")
    return worker


def done(here: Stage, worker: Worker, *said: str) -> None:
    """All is done, each message once; the worker has said what there is to say, once, and goes on."""
    if REMOVED in said:  # found by a sweep; what is missing, by who reads on
        here.until(lambda: REMOVED in worker.text(), "a sweep to find out")
    here.open_gate("g")
    for message in here.accepted:
        here.until_state(message, "o")
    here.until(lambda: not pending_of(here.broker, "work"), "the pending entries of nobody to go")
    here.until(lambda: all(text in worker.text() for text in said), f"the worker to say {said}")
    here.settled()
    here.settled(here.put("effective", "after"))
    assert here.runs("held") == 1
    assert {here.runs(f"m{n}") for n in range(WAITING)} == {1}
    assert {text: worker.text().count(text) for text in said} == dict.fromkeys(said, 1)
    for text in {GONE, REMOVED, FOREIGN} - set(said):
        assert text not in worker.text()
    assert "Traceback" not in worker.text()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        pytest.param(meddling.delete_stream, (REMOVED, GONE), id="h01-stream-deleted"),
        pytest.param(meddling.destroy_group, (REMOVED,), id="h02-group-destroyed"),
        pytest.param(meddling.trim_all, (REMOVED, GONE), id="h03-stream-trimmed"),
        pytest.param(meddling.delete_unread, (GONE,), id="h04-unread-entries-deleted"),
        pytest.param(meddling.delete_pending, (REMOVED,), id="h05-pending-entries-deleted"),
        pytest.param(meddling.read_and_keep, (GONE,), id="h06-read-by-a-stranger"),
        pytest.param(meddling.add_entries, (FOREIGN,), id="h07-entries-of-others"),
        pytest.param(meddling.read_again, (), id="h08-group-set-to-the-start"),
        pytest.param(meddling.skip_unread, (GONE,), id="h09-group-set-to-the-end"),
        pytest.param(meddling.unlink_entries, (REMOVED,), id="h10-entries-unlinked"),
        pytest.param(meddling.unlink_tally, (REMOVED,), id="h11-tally-unlinked"),
    ],
)
def test_what_others_do_to_the_stream_costs_no_message(here: Stage, how: Meddling, said: tuple[str, ...]) -> None:
    worker = busy(here)
    assert meddle(here, how) > 0, "the fault did not fire, so the test proves nothing"
    done(here, worker, *said)


def test_h12_a_group_set_to_the_start_of_a_long_history_does_not_keep_what_waits(here: Stage) -> None:
    """What has been read before is passed over in many short scripts, though nothing of it is handed out."""
    worker = here.hire("-c", "1")
    for n in range(60):
        here.put("sized", f"old{n}", "x" * 20_000)
    here.settled()
    here.put("gated", "held", here.gate("g"))
    here.hear("start", "held")
    for n in range(WAITING):
        here.put("quick", f"m{n}")
    assert meddle(here, meddling.read_again) > 0
    done(here, worker)


@pytest.mark.parametrize("first", [meddling.delete_stream, meddling.skip_unread, meddling.read_again])
def test_h13_while_nobody_works_and_while_the_queue_is_paused(here: Stage, first: Callable[..., int]) -> None:
    """The same with no worker there: it is found by whoever comes next."""
    for n in range(20):
        here.put("quick", f"m{n}")
    here.broker.pause("work")
    assert meddle(here, first) > 0
    here.put("quick", "later")
    here.hire("-c", "1")
    here.until_present(1)
    assert not any(here.runs(f"m{n}") for n in range(20))
    here.broker.resume("work")
    here.settled()
