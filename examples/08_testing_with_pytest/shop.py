"""A small shop whose tasks are tested in `test_shop.py`, without a server and without waiting."""

from __future__ import annotations

from taskq import RetryPolicy, TaskQ, current

app = TaskQ("tested-shop")

mailbox: list[str] = []


@app.task(queue="mail", retry=RetryPolicy(max_attempts=3, base=60))
async def send_mail(to: str, text: str) -> None:
    mailbox.append(f"{to}: {text}")


@app.task
def place_order(customer: str, items: list[str]) -> int:
    """Store an order; its receipt goes at once, a question about it after a day."""
    if not items:
        raise ValueError("an order without items")
    order = current().id  # the same each time that this message runs, so each of its mails is accepted once
    send_mail.options(id=f"receipt-{order}").enqueue(customer, f"{len(items)} items are on their way")
    send_mail.options(id=f"question-{order}", delay=86_400).enqueue(customer, "was all well?")
    return len(items)
