"""Ending one child: in order, with what it runs given back, or at once; and what makes it necessary."""

from __future__ import annotations

import logging
import time

from taskq_workers.judging import late
from taskq_workers.process import Child, Verdict
from taskq_workers.table import Command

log = logging.getLogger("taskq.worker")

GIVE_BACK_S = 5.0
"""How long a child may take to give back its work before it is ended."""

_NEVER = float("inf")


def drain(child: Child, patience: float) -> None:
    """Let it finish what runs; after `patience` seconds what is left is given back."""
    child.send(Command.DRAIN)
    child.give_back_at = time.monotonic() + patience


def give_back(child: Child) -> None:
    """Have it give back what it runs and end; if it does not, it is ended."""
    child.send(Command.GIVE_BACK)
    child.give_back_at, child.kill_at = _NEVER, time.monotonic() + GIVE_BACK_S


def enforce(child: Child, now: float, kill_grace: float) -> str | None:
    """Hold a child to its limits; answers why it must be replaced, if it has just begun to end for that.

    A task past its hard limit ends its child: at once if it runs by itself, else when its neighbours are done, at most
    `kill_grace` seconds later. Only the culprit is blamed.
    """
    if child.verdict is not None:
        return None
    if now >= child.kill_at:
        child.kill(Verdict("stop"))
        return None
    if now >= child.give_back_at:
        log.warning("%s was not done in time; what it still runs is given back", child)
        give_back(child)
    runs = child.running()
    if not child.overdue:
        child.overdue_ends = now + kill_grace
    child.overdue |= late(runs, now)
    culprits = frozenset(run.id for run in runs if run.id in child.overdue)
    neighbours = len(runs) - len(culprits)
    if culprits and (not neighbours or now >= child.overdue_ends):
        child.kill(Verdict("timeout", culprits))
    elif culprits and child.retiring is None:
        child.send(Command.DRAIN)
        return f"a task is past its hard limit; those beside it ({neighbours}) may finish"
    return None
