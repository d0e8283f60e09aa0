"""Bulk: thousands of messages in a few round trips, counted while they run, read in order.

A worker:        taskq dev 05_bulk_with_progress:app
The producer:    python 05_bulk_with_progress.py
"""

from __future__ import annotations

import time

import taskq
from taskq import TaskQ

app = TaskQ("bulk")


@app.task(queue="numbers")
def smallest_factor(number: int) -> int:
    return next((factor for factor in range(2, int(number**0.5) + 1) if number % factor == 0), number)


@app.task(queue="reports")
def slow_report(pages: int) -> str:
    """One long task that says how far it is; readers see its newest word."""
    for page in range(pages):
        taskq.current().check()  # ends here if somebody cancelled it
        time.sleep(0.05)
        taskq.current().progress(page + 1, pages, "typesetting")
    return f"{pages} pages"


if __name__ == "__main__":
    report = slow_report.enqueue(10)
    batch = smallest_factor.enqueue_many([(number,) for number in range(10_000, 12_000)])

    while (done := batch.counts().get("done", 0)) < len(batch):
        print(f"{done:5d} of {len(batch)}")
        time.sleep(0.25)

    primes = sum(factor == number for number, factor in enumerate(batch.results(timeout=30), start=10_000))
    print(f"{len(batch)} done, {primes} primes among them")
    print(report.result(timeout=30))
