"""What a child left behind when it died, and giving it back: at once, with the blame where it belongs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from taskq.errors import BrokerUnavailable
from taskq.message import id_text
from taskq.tasks.broker import Buried, Condemned, Finished
from taskq.tasks.failure import Failure, Kind
from taskq.tasks.lists import ListBroker
from taskq.tasks.log_context import named
from taskq.tasks.packing import FAILURES
from taskq.tasks.statistics import counted
from taskq.values import count_of

log = logging.getLogger("taskq.worker")

_TYPES = {"crash": "WorkerDied", "timeout": "HardTimeout", "lapse": "LeaseLapsed", "lost": "MessageLost"}


@dataclass(frozen=True, slots=True)
class Ran:
    """A message that ran when its child died."""

    queue: str
    task: str
    id: bytes
    token: bytes
    once: bool = False

    def __str__(self) -> str:
        return f"{self.task} {id_text(self.id)}"


@dataclass(frozen=True, slots=True)
class Death:
    """One dead child. `blamed` are ids, `cancelled` those of them that were ended on demand; `how` is in words."""

    child: str
    worker: str
    how: str
    kind: Kind
    held: tuple[tuple[str, bytes], ...]
    ran: tuple[Ran, ...]
    blamed: frozenset[bytes] = field(default_factory=frozenset)
    cancelled: frozenset[bytes] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Loss:
    """A message that its process took along. It is a dead letter now if `dead`, else it runs again."""

    queue: str
    id: bytes
    failure: Failure
    dead: bool = False


Lost: TypeAlias = Callable[[Sequence[Loss]], None]


def unheard(_: Sequence[Loss]) -> None:
    """What is lost is told to nobody."""


def give_back(broker: ListBroker, death: Death, losses: dict[bytes, Loss]) -> None:
    """Give back all that a dead child held; sending it again changes nothing, so repeat it until it does not raise.

    What came of those that are to blame is entered into `losses`, by id, so that a repeat enters nothing twice. In a
    cluster one queue may be away; what the child held of others goes back before that is raised.
    """
    away: BrokerUnavailable | None = None
    gone = ""
    for queue, token in death.held:
        if queue == gone:
            continue
        try:
            losses |= _give_back(broker, death, queue, token)
        except BrokerUnavailable as error:
            if away is not None or broker.link.url.kind != "cluster":
                raise
            away, gone = error, queue
    if away is not None:
        raise away


def _give_back(broker: ListBroker, death: Death, queue: str, token: bytes) -> dict[bytes, Loss]:
    for run in death.ran:
        if run.token == token and run.id in death.cancelled:
            stats = _counted(run.task, "c")
            broker.ack(queue, [Finished(run.id, token, "c", b"c", broker.limits.outcome_ttl, stats=stats)])
    # What may run only once and had started is told as started whoever is to blame: it is lost, not innocent.
    blamed = [run for run in death.ran if run.token == token and (run.id in death.blamed or run.once)]
    tasks = {run.task for run in blamed}
    text = f"{death.child} died while it ran this: {death.how}"
    kind, about = _TYPES.get(death.kind, "WorkerDied"), tasks.pop() if len(tasks) == 1 else ""
    failure = Failure(death.kind, kind, text, worker=death.worker, task=about)
    ids = [run.id for run in blamed]
    condemned = broker.reclaim(queue, token, failure.line(), "crash", started=ids)
    names = {run.id: run.task for run in death.ran}
    dead = bury(broker, queue, condemned, names, death.kind, death.how, death.worker)
    # What may run only once is either among the dead or was settled before: it never runs again for a death.
    again = [run for run in blamed if not run.once and run.id not in death.cancelled]
    losses = {run.id: Loss(queue, run.id, replace(failure, task=run.task)) for run in again}
    return losses | {loss.id: loss for loss in dead}


def bury(
    broker: ListBroker,
    queue: str,
    condemned: Sequence[Condemned],
    names: dict[bytes, str],
    kind: Kind,
    how: str,
    worker: str,
) -> list[Loss]:
    """Dead-letter what died too often, or may not run a second time."""
    items: list[Buried] = []
    losses: list[Loss] = []
    for one in condemned:
        name = names.get(one.id, "")
        failure = _last_words(one, kind, how, name, worker)
        stats, ttl = _counted(name, "x"), broker.limits.outcome_ttl
        items.append(Buried(one.id, one.token, failure.line(), failure.result(), ttl, failed=False, stats=stats))
        losses.append(Loss(queue, one.id, failure, dead=True))
        log.error(
            "%s %s %s in queue %s: %s",
            "lost" if one.once else "dead",
            name or "message",
            id_text(one.id),
            queue,
            failure.message,
            extra={"taskq": {"event": failure.kind}, **named(one.id, name, queue)},
        )
    for start in range(0, len(items), FAILURES):
        broker.dead_letter(queue, items[start : start + FAILURES])
    return losses


def _counted(task: str, letter: str) -> str:
    return counted(task, letter) if task not in ("", "?") else ""


def _last_words(one: Condemned, kind: Kind, how: str, task: str, worker: str) -> Failure:
    if one.once:
        text = f"lost while running, and at_most_once does not run it again: {how}"
        return Failure("lost", _TYPES["lost"], text, worker=worker, task=task)
    verb = {"timeout": "ran past its hard time limit", "lapse": "lost its worker"}.get(kind, "crashed its worker")
    return Failure(
        kind, _TYPES.get(kind, "WorkerDied"), f"{verb} {count_of(one.crashes, 'time')}: {how}", worker=worker, task=task
    )
