"""Handlers at work: the one place where user code of a subscription is called, for threads and for event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from taskq.events.turns import COMMIT_S, Outcome, Run

Handler = Callable[..., Any]


def perform(handler: Handler, run: Run) -> Outcome:
    """Let a plain function have the records of a run, as far as it may."""
    holding, work = run.holding, run.transaction
    more = () if work is None else (work,)
    if not run.may_begin():
        return Outcome(0)
    begin = holding.began = time.monotonic()
    done = 0
    try:
        if not run.each:
            handler(run.records, *more)
            done = len(run.records)
            if work is not None:
                work.keep()
            return Outcome(done)
        for record in run.records:
            handler(record, *more)
            done += 1
            now = holding.began = time.monotonic()
            if work is not None:
                work.keep()
                if work.full:
                    break
            if now - begin > COMMIT_S or not run.may_go_on():
                break
        return Outcome(done)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the policy of the group decides
        if work is not None:
            work.drop()
        return Outcome(done, error)
    finally:
        holding.began = 0.0


async def perform_async(handler: Handler, run: Run) -> Outcome:
    """The same for a coroutine function."""
    holding, work = run.holding, run.transaction
    more = () if work is None else (work,)
    if not run.may_begin():
        return Outcome(0)
    begin = holding.began = time.monotonic()
    done = 0
    try:
        if not run.each:
            await handler(run.records, *more)
            done = len(run.records)
            if work is not None:
                work.keep()
            return Outcome(done)
        for record in run.records:
            await handler(record, *more)
            done += 1
            now = holding.began = time.monotonic()
            if work is not None:
                work.keep()
                if work.full:
                    break
            if now - begin > COMMIT_S or not run.may_go_on():
                break
        return Outcome(done)
    except BaseException as error:
        if work is not None:
            work.drop()
        if cancelled(error):
            raise
        return Outcome(done, error)
    finally:
        holding.began = 0.0


def cancelled(error: BaseException) -> bool:
    """Whether our own task is cancelled; a CancelledError that the handler made is a failure like others."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
