"""Records and tasks in one worker: each order is billed in order, enqueues a receipt, and each receipt is a record.

The worker:    taskq worker 14_events_in_a_worker:app
The program:   python 14_events_in_a_worker.py
"""

from __future__ import annotations

import time

from taskq import Record, TaskQ

app = TaskQ("shop")
orders = app.topic("sold", partitions=4)
receipts = app.topic("receipts", partitions=4)
bills = app.topic("bills", partitions=4)


@app.task(queue="mail")
def send_receipt(customer: str, order: int) -> dict[str, str]:
    return {"customer": customer, "text": f"receipt of order {order}"}


@app.subscribe("sold", group="billing", reset="earliest")
def bill(record: Record) -> None:
    bills.publish({"order": record.value["order"]}, key=record.key, id=record.id)


app.bridge(
    "sold",
    group="mail",
    reset="earliest",
    call=lambda record: send_receipt.call(record.key or "?", record.value["order"]),
)
app.publish_results(send_receipt, "receipts", key=lambda result: result["customer"])


def main() -> None:
    for order in range(1, 11):
        orders.publish({"order": order}, key=f"customer-{order % 2}")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [bills.of_key("customer-1").records, receipts.of_key("customer-1").records]
        if all(len(records) == 5 for records in found):
            break
        time.sleep(0.1)
    print("billed in order:", *[record.value["order"] for record in bills.of_key("customer-1").records])
    print("receipts:", len(receipts.of_key("customer-1").records))


if __name__ == "__main__":
    with app:
        main()
