"""What an app can be told once, beyond what most apps need to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskq.checks import Duration, seconds, whole
from taskq.codec import MAX_ARGUMENTS
from taskq.errors import InvalidOption
from taskq.options import TaskOptions, retry_policy
from taskq.tasks.calls import Limits

_DAY = 86_400
LEASE_LEAST_S, LEASE_MOST_S = 0.1, 3_600


@dataclass(frozen=True, slots=True)
class AppOptions:
    """Limits and time-outs of an app; durations are seconds or timedelta.

    `max_payload` is the largest call in bytes. `max_results`, `max_dead` and `dead_ttl` bound what a queue keeps.
    `id_window` is for how long an explicit id is not accepted again after its message is over. `call_timeout` is how
    long one answer of the broker may take, `connect_timeout` how long a connection; `max_connections` is per process.
    """

    max_payload: int = MAX_ARGUMENTS
    max_results: int = 100_000
    max_dead: int = 100_000
    dead_ttl: Duration = 30 * _DAY
    id_window: Duration = _DAY
    outcome_ttl: Duration = 3_600
    call_timeout: Duration = 1.0
    connect_timeout: Duration = 1.0
    max_connections: int = 64

    def __post_init__(self) -> None:
        whole(self.max_payload, "max_payload", 1, 256 * 1_048_576)
        whole(self.max_results, "max_results", 1, 2**31)
        whole(self.max_dead, "max_dead", 1, 2**31)
        whole(self.max_connections, "max_connections", 1, 65_536)
        for name in ("dead_ttl", "id_window", "outcome_ttl"):
            seconds(getattr(self, name), name)
        for name in ("call_timeout", "connect_timeout"):
            if seconds(getattr(self, name), name) == 0:
                raise InvalidOption(f"{name}=0 leaves no time")

    def timeouts(self) -> tuple[float, float]:
        """Seconds for one answer, and for one connection."""
        return seconds(self.call_timeout, "call_timeout"), seconds(self.connect_timeout, "connect_timeout")

    def limits(self, lease: Duration) -> Limits:
        """What the broker needs of this, with a lease of so many seconds."""
        length = seconds(lease, "lease")
        if not LEASE_LEAST_S <= length <= LEASE_MOST_S:
            raise InvalidOption(f"lease={length:g}: give {LEASE_LEAST_S} to {LEASE_MOST_S} seconds")
        return Limits(
            lease=_ms(length, "lease"),
            tombstone=_ms(self.id_window, "id_window"),
            outcome_ttl=_ms(self.outcome_ttl, "outcome_ttl"),
            results=self.max_results,
            dead=self.max_dead,
            dead_age=_ms(self.dead_ttl, "dead_ttl"),
        )


def task_options(common: Mapping[str, Any], given: Mapping[str, Any]) -> TaskOptions:
    """The options of a task: what it says itself, over what its app says for all. Raises InvalidOption."""
    options = {**common, **given}
    for name in ("id", "at", "then"):
        if options.get(name) is not None:
            raise InvalidOption(f"{name}= is for one call: task.options({name}=...).enqueue(...)")
        options.pop(name, None)
    if "retry" in common and "retry" in given:
        options["retry"] = retry_policy(given["retry"], retry_policy(common["retry"]))
    if "headers" in common and isinstance(given.get("headers"), Mapping):
        options["headers"] = {**common["headers"], **given["headers"]}
    return TaskOptions.of(**options)


def _ms(value: Duration, name: str) -> int:
    return round(seconds(value, name) * 1_000)
