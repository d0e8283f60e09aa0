"""Results: typed values come back typed, failures carry the remote traceback, and nothing is kept longer than you say.

A worker:        taskq dev 04_results:app
The producer:    python 04_results.py
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from taskq import ResultTimeout, ResultUnavailable, TaskFailed, TaskQ

app = TaskQ("results")


@dataclass(frozen=True)
class Invoice:
    number: int
    day: date
    total: Decimal


@app.task
def bill(number: int, day: date, prices: list[Decimal]) -> Invoice:
    return Invoice(number, day, sum(prices, Decimal(0)))


@app.task(retry=False)
def divide(one: int, other: int) -> float:
    return one / other


@app.task(result_ttl=0)  # only its effect matters: no result is stored
def forget() -> None: ...


if __name__ == "__main__":
    invoice = bill.enqueue(7, date(2026, 11, 5), [Decimal("1.10"), Decimal("2.20")]).result(timeout=30)
    print(invoice)

    try:
        divide.enqueue(1, 0).result(timeout=30)
    except TaskFailed as error:
        print(f"{error.type}: {error.remote_message}")
        frames = error.remote_traceback.splitlines()  # text: the exception's class is named, never rebuilt
        print(f"raised there by: {next(line.strip() for line in frames if 'return' in line)}")

    later = bill.options(delay=60).enqueue(8, date(2026, 11, 6), [])
    try:
        later.result(timeout=0.1)
    except ResultTimeout:
        print(f"not yet: {later.status()}")
    print(later.cancel())

    try:
        forget.enqueue().result(timeout=30)
    except ResultUnavailable:
        print("nothing was kept")
