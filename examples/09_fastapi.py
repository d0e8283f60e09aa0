"""FastAPI: open the app with the web server, enqueue without blocking, await a result.

A worker:         taskq dev 09_fastapi:tasks
The web server:   pip install fastapi uvicorn, then    python -m uvicorn 09_fastapi:web
Try it:           curl -X POST 'localhost:8000/words?text=to+be+or+not'
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from fastapi import FastAPI, HTTPException

from taskq import ResultTimeout, ResultUnavailable, TaskQ

tasks = TaskQ("web")


@tasks.task
def count_words(text: str) -> int:
    return len(text.split())


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with tasks:  # closes the connections of this event loop at the end
        yield


web = FastAPI(lifespan=lifespan)


@web.post("/words")
async def words(text: str) -> dict[str, int]:
    """Wait for the answer: other requests go on meanwhile."""
    handle = await count_words.aenqueue(text)
    return {"words": await handle.aresult(timeout=30)}


@web.post("/later", status_code=202)
async def later(text: str) -> dict[str, str]:
    """Answer at once; the client asks again with the id."""
    handle = await count_words.aenqueue(text)
    return {"id": handle.id}


@web.get("/later/{id}")
async def answer(id: UUID) -> dict[str, object]:
    handle = tasks.handle(id)
    try:
        return {"status": "done", "words": await handle.aresult(timeout=0)}
    except ResultTimeout:
        return {"status": await handle.astatus()}
    except ResultUnavailable:
        raise HTTPException(404, "no such message, or its result is no longer kept") from None
