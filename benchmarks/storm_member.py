"""One member of the storm: counts per key in the state, publishes what it handled, and notes both, exactly once.

Its argument is JSON: url, namespace, session. It ends in order when its input is closed.
"""

from __future__ import annotations

import json
import sys

from taskq import Record, TaskQ
from taskq.events.transaction import Transaction

TOPIC, OUT, GROUP = "storm", "storm.out", "g"


def main() -> None:
    told = json.loads(sys.argv[1])
    app = TaskQ(told["namespace"], url=told["url"])
    out = app.topic(OUT)

    @app.subscribe(TOPIC, group=GROUP, delivery="exactly_once", reset="earliest", session=told["session"], retry=5)
    def handle(record: Record, transaction: Transaction) -> None:
        key = str(record.key)
        number, last = transaction.state.get(key, [0, -1])
        wrong = record.value <= last  # a key's values only grow: otherwise one came twice, or too early
        transaction.state[key] = [number + 1, record.value]
        transaction.publish(out, {"value": record.value, "count": number + 1, "wrong": wrong}, key=key)

    with app.consume():
        sys.stdin.read()


if __name__ == "__main__":
    main()
