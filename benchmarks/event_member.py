"""One member of an ordered group that reads a topic to its end, counts, and prints records per second.

Its argument is JSON: url, namespace, topic, count, and kind: "batch", "record" or "async". The time runs from the first
record that the handler gets until the commit of the last one is stored.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from taskq import Record, TaskQ


class Count:
    """How many came, and when the first did."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.begin = 0.0
        self.all = threading.Event()

    def take(self, number: int) -> None:
        self.begin = self.begin or time.perf_counter()
        self._left -= number
        if self._left <= 0:
            self.all.set()


def main() -> None:
    told = json.loads(sys.argv[1])
    app, count = TaskQ(told["namespace"], url=told["url"]), Count(told["count"])
    lock = threading.Lock()  # handlers of several partitions run at once
    group = f"group-{told['kind']}"

    def batch(records: list[Record]) -> None:
        with lock:
            count.take(len(records))

    def record(_: Record) -> None:
        with lock:
            count.take(1)

    async def arecord(_: Record) -> None:
        count.take(1)

    if told["kind"] == "batch":
        app.subscribe(told["topic"], group=group, reset="earliest", batch=1_000)(batch)
    else:
        app.subscribe(told["topic"], group=group, reset="earliest")(record if told["kind"] == "record" else arecord)
    topic = app.topic(told["topic"])
    with app.consume():
        if not count.all.wait(200):
            sys.exit("not all records came")
        while sum(one.records for one in topic.group(group).lag()):
            time.sleep(0.002)
        print(told["count"] / (time.perf_counter() - count.begin))


if __name__ == "__main__":
    main()
