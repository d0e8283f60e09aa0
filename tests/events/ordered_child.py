"""A consumer in a process of its own, told what to do by one argument of JSON; ends when its input is closed.

`note` appends each record to the ledger; `die:X` kills the process at value X, before noting; `slow:S` waits S seconds
after each note; `count` counts per key in the state, exactly once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from taskq import Record, TaskQ
from taskq.events.consumer import Consumer
from taskq.events.subscription import Subscription
from taskq.events.transaction import Transaction


def main() -> None:
    told = json.loads(sys.argv[1])
    app = TaskQ(told["namespace"], url=told["url"])
    link = app.events.links().sync
    word, _, value = told["behaviour"].partition(":")
    pause = threading.Event()

    def note(record: Record) -> None:
        line: dict[str, Any] = {"pid": os.getpid(), "partition": record.partition, "number": record.number}
        line |= {"key": record.key, "value": record.value, "attempt": record.attempt, "id": record.id}
        link.execute("RPUSH", "ledger", json.dumps(line))

    def handler(record: Record) -> None:
        if word == "die" and record.value == int(value):
            os.kill(os.getpid(), signal.SIGKILL)
        note(record)
        if word == "slow":
            pause.wait(float(value))

    def count(record: Record, transaction: Transaction) -> None:
        note(record)
        state = transaction.state
        state[str(record.key)] = state.get(str(record.key), 0) + 1
        if value:
            transaction.publish(app.topic(value), record.value, key=record.key)

    options = Subscription.of(told["options"].pop("group", "g"), told["options"])
    consumer = Consumer(app.topic("t").log, options, count if word == "count" else handler)
    consumer.start()
    if consumer.wait_joined(60):
        sys.stdout.write("joined\n")
        sys.stdout.flush()
    sys.stdin.read()
    consumer.stop()


if __name__ == "__main__":
    main()
