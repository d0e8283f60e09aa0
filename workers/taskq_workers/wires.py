"""The keeper's round trips: many small calls of different kinds, sent together, each with its own way to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.errors import BrokerUnavailable, NoScript, TaskqError
from taskq.store.connection import SyncLink
from taskq.store.scripts import Call, run


@dataclass(frozen=True, slots=True)
class Wire:
    """One call or plain command, what it is for (in words, for complaints), and who gets its answer."""

    what: str
    call: Call[Any] | None
    command: tuple[Any, ...] = ()
    then: Callable[[Any], None] | None = None


def exchange(link: SyncLink, wires: Sequence[Wire]) -> list[tuple[Wire, Any]]:
    """Send them in one round trip; answers each with its decoded reply or its error.

    Raises BrokerUnavailable if a single server left one of them unanswered: the whole round is then due again. The
    shards of a cluster answer for themselves.
    """
    replies = link.pipeline([wire.call.command() if wire.call is not None else wire.command for wire in wires])
    answers = []
    for wire, reply in zip(wires, replies, strict=True):
        answer = reply
        try:
            if wire.call is not None:
                # A server that was restarted or flushed has no scripts: this one then goes again with its text.
                answer = run(link, wire.call) if isinstance(reply, NoScript) else _decoded(wire.call, reply)
        except TaskqError as error:
            answer = error
        if isinstance(answer, BrokerUnavailable) and link.url.kind != "cluster":
            raise answer
        answers.append((wire, answer))
    return answers


def _decoded(call: Call[Any], reply: Any) -> Any:
    return reply if isinstance(reply, TaskqError) else call.decode(reply)
