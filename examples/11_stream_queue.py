"""A stream queue: orders are booked once, and what was booked stays in the history.

A worker:        taskq dev 11_stream_queue:app
The producer:    python 11_stream_queue.py
"""

from __future__ import annotations

from taskq import Queue, Retain, TaskQ
from taskq.inspector import Inspector

app = TaskQ("orders", queues=[Queue("audit", transport="stream", retain=Retain(count=1_000))])


@app.task(queue="audit")
def book(order: int, cents: int) -> str:
    return f"order {order}: {cents / 100:.2f}"


def main() -> None:
    batch = book.enqueue_many([(number, 1_000 + number) for number in range(20)])
    booked = list(batch.results(timeout=30))
    print("\n".join(booked[:3]))
    stream = Inspector(app.broker().link, app.namespace).queue("audit").stream
    assert stream is not None
    print(f"{stream.entries} entries: {stream.unread} unread, {stream.pending} in progress, the rest is history")


if __name__ == "__main__":
    with app:
        main()
