"""The app of the picture: a shop whose mails fail now and then, and whose images take a while."""

from __future__ import annotations

import random
import time

from taskq import RetryPolicy, TaskQ

app = TaskQ("workshop")
chance = random.Random(7)  # noqa: S311 - load, no secret


@app.task(name="shop.send_receipt", queue="mail", retry=RetryPolicy(max_attempts=3, base=4))
def send_receipt(order: int) -> str:
    time.sleep(chance.uniform(0.002, 0.03))
    if order % 29 == 0 or chance.random() < 0.02:
        raise ConnectionError(f"no route to the mail server for order {order}")
    return f"sent {order}"


@app.task(name="shop.resize", queue="images", timeout=20)
def resize(path: str) -> str:
    time.sleep(chance.uniform(0.5, 9.0))
    return path


@app.task(name="shop.index", queue="search", retry=RetryPolicy(max_attempts=2, base=30))
def index(page: int) -> int:
    time.sleep(chance.expovariate(1 / 0.04))
    if page % 97 == 0:
        raise TimeoutError("the search engine did not answer")
    return page


@app.task(name="shop.report", queue="reports")
def report(day: str) -> str:
    time.sleep(0.2)
    return day


@app.periodic("*/10 * * * *", name="shop.carts")
def sweep_carts() -> None: ...


@app.periodic("0 3 * * *", tz="Europe/Berlin", name="shop.nightly")
def nightly() -> None: ...
