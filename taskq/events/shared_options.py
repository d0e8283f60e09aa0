"""What a shared subscription is told, as a frozen value."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict

from taskq.checks import Delivery, Duration, delivery, seconds, when, whole
from taskq.errors import InvalidOption
from taskq.events.record import Offset, Record
from taskq.names import check_name, did_you_mean, shown
from taskq.options import RetryPolicy, retry_policy

Reset = Literal["earliest", "latest", "error"]
Ack = Literal["auto", "manual"]
Filter = Callable[[Record], object]

LEAST_LEASE_S = 0.5
DEFAULT_RETRY = RetryPolicy()


class SharedSaid(TypedDict, total=False):
    """The options of a shared subscription by name."""

    reset: Reset
    lease: Duration
    concurrency: int
    max_in_flight: int
    retry: RetryPolicy | int | bool | None
    delivery: Delivery
    member: str
    ack: Ack


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """How a group is consumed. `lease` is how many seconds a consumer that fell silent keeps its records.

    `concurrency` handlers run at a time, and `max_in_flight` records at most are in hand, those included. `reset` says
    where a new group begins. `member` is a name for people; a random part goes with it at each start. With
    `ack="manual"` a loop over records settles none of them by itself.
    """

    group: str
    reset: Reset = "latest"
    lease: float = 10.0
    concurrency: int = 8
    max_in_flight: int = 100
    retry: RetryPolicy = DEFAULT_RETRY
    delivery: Delivery = "at_least_once"
    member: str = ""
    ack: Ack = "auto"

    @classmethod
    def of(cls, group: object, said: Mapping[str, Any]) -> SharedOptions:
        """What was said, each thing looked at. Raises InvalidOption, InvalidName."""
        for name in said:
            if name not in SharedSaid.__annotations__:
                hint = did_you_mean(name, SharedSaid.__annotations__)
                raise InvalidOption(f"{name}= is no option of a shared subscription{hint}")
        lease = seconds(said.get("lease", 10), "lease")
        if lease < LEAST_LEASE_S:
            raise InvalidOption(
                f"lease={lease:g}: give at least {LEAST_LEASE_S:g} seconds, it has to be extended in time"
            )
        reset = said.get("reset", "latest")
        if reset not in ("earliest", "latest", "error"):
            raise InvalidOption(f"reset={shown(reset)}: give 'earliest', 'latest' or 'error'")
        ack = said.get("ack", "auto")
        if ack not in ("auto", "manual"):
            raise InvalidOption(f"ack={shown(ack)}: give 'auto' or 'manual'")
        concurrency = whole(said.get("concurrency", 8), "concurrency", 1, 10_000)
        most = whole(said.get("max_in_flight", max(100, 2 * concurrency)), "max_in_flight", 1, 100_000)
        return cls(
            check_name(group, "group"),
            reset,
            lease,
            concurrency,
            most,
            retry_policy(said.get("retry")),
            delivery(said.get("delivery", "at_least_once"), "delivery"),
            check_name(said["member"], "member") if said.get("member") else own_name(),
            ack,
        )


def own_name() -> str:
    """Host and process, for people who look for a consumer."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:60].strip("-") or "host"
    return f"{host}-{os.getpid()}"


def place(where: object) -> str:
    """A place in a partition as the scripts take it: `earliest`, `latest`, or the id behind which it is.

    An offset means that the record at it comes next; a time (aware datetime, or seconds since 1970) that the first one
    appended at or after it does.

    >>> place(Offset(1700000000000, 3)), place(1700000000.0), place("latest")
    ('1700000000000-2', '1699999999999-18446744073709551615', 'latest')
    """
    if where in ("earliest", "latest"):
        return str(where)
    if isinstance(where, str):
        where = Offset.parse(where)
    if isinstance(where, Offset):
        ms, seq = where.ms, where.seq
    elif isinstance(where, (datetime, int, float)):
        ms, seq = when(where, "to"), 0
    else:
        raise InvalidOption(
            f"to={shown(where)}: give 'earliest', 'latest', an offset, a datetime, or seconds since 1970"
        )
    if seq:
        return f"{ms}-{seq - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms else "earliest"
