"""Who is to blame when a child ends, and how soon another one may start: decided from what is left, without I/O."""

from __future__ import annotations

from taskq.message import id_text
from taskq.tasks.failure import Kind
from taskq_workers.deaths import Death, Ran
from taskq_workers.process import Child
from taskq_workers.sightings import Running

LATE_S = 5.0
QUICK_S = 1.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_NAMES_SHOWN = 5


def judge(child: Child, worker: str) -> Death:
    """The death of a reaped child. Without a verdict of the supervisor, and not in order, all that ran is suspect."""
    ran = tuple(
        Ran(child.queue(run.queue), child.task(run.task), run.id, run.token, run.once) for run in child.running()
    )
    held = tuple((child.queue(one.queue), one.token) for one in child.held() if child.queue(one.queue))
    verdict, how = child.verdict, child.how_it_died()
    kind: Kind = "crash"
    blamed = cancelled = frozenset[bytes]()
    if verdict is None:
        blamed = blamed if child.orderly else frozenset(run.id for run in ran)
    elif verdict.kind == "timeout":
        kind, blamed, how = "timeout", verdict.ids, "past its hard time limit, ended with signal 9 (SIGKILL)"
    elif verdict.kind == "cancel":
        kind, cancelled, how = "lost", verdict.ids, "ended for a task beside it that was cancelled"
    else:
        why = child.retiring
        kind, how = (
            "lost",
            "the worker was stopped" if why is None else f"it was to be replaced ({why}), and did not end",
        )
    return Death(str(child), worker, how, kind, held, ran, blamed, cancelled)


def late(runs: list[Running], now: float) -> frozenset[bytes]:
    """The ids that are past their hard limit."""
    return frozenset(run.id for run in runs if run.hard and now >= run.hard)


def names(death: Death) -> str:
    """What ran, for a log line."""
    shown = ", ".join(f"{run.task} {id_text(run.id)}" for run in death.ran[:_NAMES_SHOWN])
    more = len(death.ran) - _NAMES_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def late_start(child: Child, app: str) -> str | None:
    """What a child does that should have said hello by now; None if it has, or if that was told before."""
    if child.hello is not None or child.error is not None or child.awaited or child.age < LATE_S:
        return None
    child.awaited = True
    return f"the start-up hooks of {app} have not returned" if child.imported else f"it is still importing {app}"


class Restarts:
    """The pause before a new child: none, unless children keep dying as soon as they start."""

    def __init__(self) -> None:
        self.quick = 0

    def pause(self, age: float, *, served: bool) -> float:
        """A child died at this age, having said hello or not; answers the seconds before the next one starts."""
        if served and age >= QUICK_S:
            self.quick = 0
            return 0.0
        self.quick += 1
        return 0.0 if self.quick == 1 else min(_FIRST_PAUSE_S * 2.0 ** (self.quick - 2), _LONGEST_PAUSE_S)
