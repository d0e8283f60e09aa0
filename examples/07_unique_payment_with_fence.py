"""A payment that is asked for twice and charged once: `unique=` at the door, a fence at the database.

`unique=` keeps a second message out while the first is not over. It cannot keep a *run* from happening twice: a worker
that stopped for longer than its lease may go on after another has taken over. taskq refuses what such a worker says to
the broker, but not what it writes elsewhere. So the row keeps the largest fence it has seen and takes no smaller one.

A worker:        taskq dev 07_unique_payment_with_fence:app
The producer:    python 07_unique_payment_with_fence.py
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import taskq
from taskq import TaskQ

app = TaskQ("payments")

DATABASE = os.environ.get("PAYMENTS_DB", "payments.sqlite3")
SCHEMA = "CREATE TABLE IF NOT EXISTS payments (order_id INTEGER PRIMARY KEY, cents INTEGER, charged_by INTEGER)"
# One statement decides: the first writer inserts, a later one only if its fence is larger.
RECORD = """
    INSERT INTO payments VALUES (:order, :cents, :fence)
    ON CONFLICT (order_id) DO UPDATE SET cents = :cents, charged_by = :fence WHERE charged_by < :fence
"""


def record(order_id: int, cents: int, fence: int) -> bool:
    """Write the payment unless a later lease has written it; False if it had."""
    with closing(sqlite3.connect(DATABASE, timeout=10)) as database, database:
        database.execute(SCHEMA)
        changed = database.execute(RECORD, {"order": order_id, "cents": cents, "fence": fence}).rowcount
    return changed == 1


@app.task(queue="payments", timeout=30)
def charge(order_id: int, cents: int) -> bool:
    return record(order_id, cents, taskq.current().fence)


if __name__ == "__main__":
    # A second's delay, so that the first message is surely not over when the second click comes.
    first = charge.options(unique="order-42", delay=1).enqueue(42, 1999)
    second = charge.options(unique="order-42").enqueue(42, 1999)
    print(f"two clicks, one message: {first == second}; the second created it: {second.created}")
    print(f"charged: {second.result(timeout=30)}")

    again = charge.options(unique="order-42").enqueue(42, 1999)
    print(f"afterwards the key is free: {again.created}, and its run has a larger fence: {again.result(timeout=30)}")
    print(f"a stale worker with fence 0 is refused by the row: {not record(42, 0, fence=0)}")
