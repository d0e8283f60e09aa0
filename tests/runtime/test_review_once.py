"""A message that may not run twice, and a child that dies between its end and the storing of that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from uuid import UUID

from tests.runtime.world import world
from tests.servers import RealServer


def test_what_may_not_run_twice_does_not_although_it_ended_before_its_child_died(
    start_server: Callable[..., RealServer], namespace: str
) -> None:
    server = start_server()
    with world(server, namespace) as here:
        worker = here.worker("-c", "2", app="tests.runtime.reviewed:app")
        here.until_present(1)
        sender = here.app.remote("tests.runtime.reviewed.once_gated", queue="work")
        handle = sender.enqueue("o", here.gate("g"))
        (said,) = here.hear("start", "o")
        server.sigstop()
        here.open_gate("g")
        here.hear("end", "o")
        os.kill(said.pid, signal.SIGKILL)
        here.until(lambda: said.pid not in worker.children, "the child to be reaped")
        server.sigcont()
        here.until_state(UUID(handle.id).bytes, "x", "o")
        assert len(here.said("start", "o")) == 1
