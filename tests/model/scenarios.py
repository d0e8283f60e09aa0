"""What the search looks at: small worlds, each with the few faults that its rules are about."""

from __future__ import annotations

from typing import Any

from taskq.tasks.broker import Outgoing
from tests.model.world import Budget, Scenario


def message(name: str, **more: Any) -> Outgoing:
    return Outgoing(name, f"body {name}".encode(), **more)  # type: ignore[arg-type]


ONE_BY_ONE = ((message("a"),), (message("b"),))
ONE = ((message("a"),),)
TWO = ((message("a"), message("b")),)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("replies lost and calls that come late", ONE, Budget(lost=1, late=1, crash=1, stall=1)),
        Scenario("a stall, and a call that comes late", ONE, Budget(late=1, stall=2)),
        Scenario("dying children and hosts", ONE, Budget(crash=2, host=2, stall=1)),
        Scenario("failover to a replica that lags", ONE, Budget(failover=1, lost=1, stall=1, crash=1)),
        Scenario("failover between two enqueues", ONE_BY_ONE, Budget(failover=1, late=1), workers=1),
        Scenario("a lane that is forgotten", ONE_BY_ONE, Budget(forget=1, lost=1), workers=1),
        Scenario("worker keys that expire too early", ONE_BY_ONE, Budget(nap=1, lost=1, late=1), workers=1),
        Scenario("two messages, one at a time", ONE_BY_ONE, Budget(lost=1, late=1)),
        Scenario("all outcomes", ONE, Budget(late=1, stall=1), outcomes=("ack", "nack", "later", "dead")),
        Scenario("two messages of one call", TWO, Budget(crash=1, late=1, lost=1), batch=2),
        Scenario("given back and set aside", ONE, Budget(release=1, park=1, stall=1, lost=1)),
        Scenario("recalled from a stuck child", TWO, Budget(recall=1, late=1, crash=1), batch=2, workers=1),
        Scenario("cancelled", ONE, Budget(cancel=2, stall=1, lost=1, crash=1), outcomes=("ack", "later")),
        Scenario("a poison message", TWO, Budget(lost=1), batch=2, poison=frozenset("a")),
        Scenario("at most once", ONE, Budget(crash=1, host=1, stall=1, late=1), once=frozenset("a")),
        Scenario(
            "unique",
            ((message("a", unique=b"k"),), (message("b", unique=b"k"),)),
            Budget(stall=1, lost=1, redrive=1),
            outcomes=("ack", "dead"),
        ),
        Scenario(
            "unique, cancelled",
            ((message("a", unique=b"k"),), (message("b", unique=b"k"),)),
            Budget(cancel=1, stall=1),
        ),
        Scenario(
            "ids of one's own",
            ((message("a", explicit=True),), (message("a", explicit=True),)),
            Budget(lost=1, late=1, cancel=1),
            outcomes=("ack", "later"),
        ),
        Scenario("due later", ((message("a", due=-1),),), Budget(stall=1, cancel=1, late=1), outcomes=("ack", "later")),
    )
}
