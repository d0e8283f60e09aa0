"""Events: a topic of orders, published to by key, read again from any point, and an account that is made of its events.

There is no worker in it. A server:   taskq dev 01_hello:app
The program:                          python 13_events.py
"""

from __future__ import annotations

from taskq import Event, Record, Retention, TaskQ, VersionConflict
from taskq.events.aggregates import Aggregates

app = TaskQ("shop")
orders = app.topic("orders", partitions=4, retention=Retention(age=7 * 86_400))
accounts = app.topic("accounts", partitions=4, index=True)


def balance(state: int, record: Record) -> int:
    amount: int = record.value["amount"]
    return state + amount


def publish() -> None:
    first = orders.publish({"order": 1, "total": 12.5}, key="customer-7")
    again = orders.publish({"order": 2, "total": 3.0}, key="customer-7", id="order-2")
    told = orders.publish({"order": 2, "total": 3.0}, key="customer-7", id="order-2")
    print(f"one key, one partition: {first.partition == again.partition}, in order: {first.offset < again.offset}")
    print(f"the same id again: new {told.created}, at the old offset {told.offset == again.offset}")
    orders.publish_many([Event({"order": number}, key=f"customer-{number % 10}") for number in range(3, 1_000)])
    mine = orders.of_key("customer-7").records
    print(f"customer 7 has {len(mine)} orders, the last is {mine[-1].value['order']}")
    later = orders.read(first.partition, since=again.offset, limit=1)
    print(f"read again from an offset: order {later[0].value['order']}")


def account() -> None:
    ledger = Aggregates(accounts, int, balance)
    version = ledger.append("account-1", [{"amount": 100}, {"amount": -30}], expected=0).version
    try:
        ledger.append("account-1", [{"amount": -500}], expected=0)
    except VersionConflict as conflict:
        print(f"somebody was quicker: the account has version {conflict.version}")
    ledger.append("account-1", [{"amount": 5}], expected=version)
    ledger.snapshot("account-1")
    print(f"the account has {ledger.load('account-1').state} at version {ledger.load('account-1').version}")


if __name__ == "__main__":
    with app:
        publish()
        account()
