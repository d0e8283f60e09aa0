"""What all random calls are drawn from, and those that settle: one seed's queue, tokens, numbers and time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.store.keys import QueueKeys, queue_keys
from taskq.store.scripts import Call
from taskq.tasks import calls
from taskq.tasks.broker import Buried, Finished, Held, Op, Outgoing, Retried, Ticket
from taskq.tasks.packing import Limits
from tests.model.store import Settings
from tests.model.upkeep import Queue

START_MS = 1_800_000_000_000
SETTINGS = Settings()
LIMITS = Limits(
    lease=SETTINGS.lease,
    tombstone=SETTINGS.tombstone,
    outcome_ttl=SETTINGS.outcome_ttl,
    results=SETTINGS.results,
    dead=SETTINGS.dead,
    dead_age=SETTINGS.dead_age,
    error_bytes=SETTINGS.error_bytes,
    sweep_gap=SETTINGS.sweep_gap,
)
TASKS = ("mail", "bill")
STATS = ("", "d mail", "d mail\nR7 mail", "f mail\nx mail")
KEYS = queue_keys("conformance", "q")
STREAM_KEYS = queue_keys("conformance", "q", True)


@dataclass(frozen=True, slots=True)
class Step:
    """One call: as it is sent, what the model answers, what is stored afterwards; `then` are sent right after it."""

    label: str
    call: Call[Any]
    answer: Any
    after: dict[str, Any]
    then: Sequence[Call[Any]] = ()


class Drawing:
    """Wrong calls are drawn too: old numbers, stale tokens, ids that are elsewhere."""

    def __init__(self, seed: int, keys: QueueKeys = KEYS) -> None:
        self.keys = keys
        self.rng = random.Random(seed)
        self.queue = Queue()
        self.now = START_MS
        self.steps: list[Step] = []
        self.nonces = [self.rng.randbytes(8) for _ in range(2)]
        self.seats = list(self.nonces)  # those of the children that live
        self.lanes = [self.rng.randbytes(12) for _ in range(2)]
        self.sent: dict[bytes, tuple[int, Sequence[Outgoing]]] = {}
        self.tickets: list[tuple[Ticket, Sequence[str], int]] = []
        self.hands: list[tuple[bytes, bytes]] = []  # every id and token that was ever handed out
        self.ops: dict[tuple[bytes, str], list[tuple[Op, Any]]] = {}
        self.ids: list[bytes] = []

    def step(self, label: str, call: Call[Any], answer: Any, then: Sequence[Call[Any]] = ()) -> None:
        after = {name: value if name == "wake" else value.copy() for name, value in self.queue.fields().items()}
        self.steps.append(Step(f"{label} at {self.now - START_MS}", call, answer, after, then))

    @property
    def at(self) -> str:
        return str(self.now)

    def some(self) -> list[tuple[bytes, bytes]]:
        """Ids with tokens: most are held so, some were, some never."""
        rng = self.rng
        current = [(mid, record.token) for mid, record in self.queue.state.items() if record.kind == "l"]
        pairs = rng.sample(current, min(len(current), rng.choice((1, 1, 2, 3))))
        if self.hands and rng.random() < 0.2:
            pairs.append(rng.choice(self.hands))
        if self.hands and rng.random() < 0.05:
            pairs.append((rng.choice(self.ids), rng.choice(self.hands)[1]))
        return pairs

    def token(self) -> bytes:
        tokens = list(self.queue.held) if self.rng.random() < 0.8 else [ticket.token for ticket, _, _ in self.tickets]
        return self.rng.choice(tokens) if tokens else self.nonces[0] + self.rng.randbytes(12)

    # -- settling

    def op(self, verb: str, items: Sequence[Any]) -> tuple[Op | None, Sequence[Any]] | None:
        """A number for these items; or an old call again."""
        kind, nonce = self.rng.random(), self.rng.choice(self.seats)
        past = self.ops.setdefault((nonce, verb), [])
        if past and kind < 0.35:
            return self.rng.choice(past[-3:])
        if not items:
            return None
        if kind > 0.9:
            return None, items
        past.append((Op(nonce, 1 + len(past)), items))
        return past[-1]

    def settle(self, verb: str, items: Sequence[Any], build: Callable[..., Call[Any]]) -> None:
        chosen = self.op("bury" if verb == "dead_letter" else verb, items)
        if chosen is not None:
            op, items = chosen
            answer = getattr(self.queue, verb)(self.now, op and (op.nonce, op.number), items)
            call = build(self.keys, items, op, LIMITS, self.at)
            self.step(f"{verb} {op and op.number} of {[item.id[-1] for item in items]}", call, answer)

    def ack(self) -> None:
        items: list[Finished] = []
        for mid, token in self.some():
            if self.rng.random() < 0.4:
                items.append(Finished(mid, token, stats=self.rng.choice(STATS)))
            else:
                follow = self.rng.randbytes(16) + b"wire" if self.rng.random() < 0.2 else b""
                result, ttl = self.rng.choice(((b"", 0), (b"d1", 5_000), (b"d2", 40_000), (b"d3", 0)))
                items.append(
                    Finished(mid, token, self.rng.choice("dddce"), result, ttl, follow, stats=self.rng.choice(STATS))
                )
        # As calls.ack groups them: what is plainly done first, then by kind and token.
        runs: dict[tuple[str, bytes], list[Finished]] = {}
        for item in items:
            plain = item.kind == "d" and not item.result and not item.follow
            runs.setdefault(("a" if plain else item.kind, item.token), []).append(item)
        self.settle(
            "ack", [item for run in sorted(runs, key=lambda run: run[0] != "a") for item in runs[run]], calls.ack
        )

    def nack(self) -> None:
        rng = self.rng
        items = [
            Retried(
                mid,
                token,
                rng.choice((0, 0, 900, 5_000)),
                rng.random() < 0.7,
                rng.choice((b"", b'{"n":%d}' % rng.randrange(99), b"n" * 700)),
                rng.choice(STATS),
            )
            for mid, token in self.some()
        ]
        self.settle("nack", items, calls.nack)

    def dead_letter(self) -> None:
        rng = self.rng
        items = [Buried(mid, token, b'{"dead":1}', *_grave(rng)) for mid, token in self.some()]
        self.settle("dead_letter", items, calls.dead_letter)

    def release(self) -> None:
        runs: dict[bytes, list[Held]] = {}
        for mid, token in self.some():
            runs.setdefault(token, []).append(Held(mid, token))
        items = [item for run in runs.values() for item in run]
        if items:
            answer = self.queue.release(self.now, items)
            self.step(f"release {[item.id[-1] for item in items]}", calls.release(self.keys, items, self.at), answer)

    def park(self) -> None:
        items = [(Held(mid, token), self.rng.choice(TASKS)) for mid, token in self.some()]
        if items:
            answer = self.queue.park(self.now, items)
            self.step(f"park {[item.id[-1] for item, _ in items]}", calls.park(self.keys, items, self.at), answer)


def _grave(rng: random.Random) -> tuple[bytes, int, bool, bool, str]:
    """What a burial has beside its message: result, its lifetime, whether it is quarantined, has failed, what it counts
    as.
    """
    result, ttl = rng.choice(((b"", 0), (b"x1", 3_000)))
    return result, ttl, rng.random() < 0.3, rng.random() < 0.7, rng.choice(STATS)
