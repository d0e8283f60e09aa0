"""Async: `async def` tasks share one event loop in the worker, and what talks to the broker has an async twin.

A worker:        taskq dev 02_async:app
The producer:    python 02_async.py
"""

from __future__ import annotations

import asyncio

from taskq import TaskQ

app = TaskQ("async-pages")


@app.task(queue="pages")
async def measure(page: str) -> int:
    await asyncio.sleep(0.2)  # stands for a request; eight of them wait side by side in one child
    return len(page)


async def main() -> None:
    async with app:
        pages = [f"/page/{number}" for number in range(16)]
        handles = await asyncio.gather(*(measure.aenqueue(page) for page in pages))
        sizes = await asyncio.gather(*(handle.aresult(timeout=30) for handle in handles))
        print(f"{len(sizes)} pages, {sum(sizes)} characters in their names")


if __name__ == "__main__":
    asyncio.run(main())
