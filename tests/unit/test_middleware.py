from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.errors import ConfigError
from taskq.middleware import Middlewares, around, chain
from taskq.testing import memory


def tagged(tag: str, log: list[str]) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    def middleware(handler: Callable[[str], str]) -> Callable[[str], str]:
        def handle(request: str) -> str:
            log.append(f"{tag} in")
            result = handler(request)
            log.append(f"{tag} out")
            return result

        return handle

    return middleware


def test_the_first_middleware_is_the_outermost() -> None:
    log: list[str] = []
    handler = chain([tagged("a", log), tagged("b", log)], str.upper)
    assert handler("x") == "X"
    assert log == ["a in", "b in", "b out", "a out"]


def test_without_middleware_the_handler_itself_is_used() -> None:
    assert chain([], str.upper) is str.upper
    assert Middlewares().wrap("enqueue", str.upper) is str.upper


def test_the_seams_are_apart() -> None:
    log: list[str] = []
    stack = Middlewares()
    stack.add("execute", tagged("run", log))
    assert stack.wrap("enqueue", str.upper)("x") == "X"
    assert log == []
    assert stack.wrap("execute", str.upper)("x") == "X"
    assert log == ["run in", "run out"]


def test_an_unknown_seam_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'enqueue'\?"):
        Middlewares().add("enqeue", tagged("a", []))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_middleware_that_forgot_its_return_is_named() -> None:
    def forgetful(handler: Callable[[str], str]) -> Any:
        del handler

    with pytest.raises(ConfigError, match="forgetful"):
        chain([forgetful], str.upper)


def test_what_is_not_a_function_is_no_middleware() -> None:
    with pytest.raises(ConfigError, match="from handler to handler"):
        Middlewares().add("execute", "loud")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def recorder(log: list[Any]) -> Any:
    @around
    def record(request: Any) -> Generator[None, Any, None]:
        log.append(("in", request))
        try:
            result = yield
        except ValueError as error:
            log.append(("error", str(error)))
            raise
        log.append(("out", result))

    return record


def test_around_wraps_a_sync_handler() -> None:
    log: list[Any] = []
    assert chain([recorder(log)], str.upper)("x") == "X"
    assert log == [("in", "x"), ("out", "X")]


async def test_around_waits_for_an_async_handler() -> None:
    log: list[Any] = []

    async def handler(request: str) -> str:
        await asyncio.sleep(0)
        log.append("ran")
        return request.upper()

    assert await chain([recorder(log)], handler)("x") == "X"
    assert log == [("in", "x"), "ran", ("out", "X")]


def test_around_sees_the_error_and_the_caller_does_too() -> None:
    log: list[Any] = []

    def handler(request: str) -> str:
        raise ValueError(request)

    with pytest.raises(ValueError, match="x"):
        chain([recorder(log)], handler)("x")
    assert log == [("in", "x"), ("error", "x")]


async def test_around_sees_the_error_of_an_async_handler() -> None:
    log: list[Any] = []

    async def handler(request: str) -> str:
        raise ValueError(request)

    with pytest.raises(ValueError, match="x"):
        await chain([recorder(log)], handler)("x")
    assert log == [("in", "x"), ("error", "x")]


async def test_around_sees_a_cancellation() -> None:
    seen: list[str] = []
    started = asyncio.Event()

    @around
    def watch(request: Any) -> Generator[None, Any, None]:
        try:
            yield
        except asyncio.CancelledError:
            seen.append(request)
            raise

    async def handler(request: str) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(chain([watch], handler)("x"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["x"]


def test_an_error_that_around_swallows_reaches_the_caller_all_the_same() -> None:
    @around
    def swallow(request: Any) -> Generator[None, Any, None]:
        try:
            yield
        except ValueError:
            return

    def handler(request: str) -> str:
        raise ValueError(request)

    with pytest.raises(ValueError, match="x"):
        chain([swallow], handler)("x")


def test_around_yields_exactly_once() -> None:
    @around
    def twice(request: Any) -> Generator[None, Any, None]:
        yield
        yield

    @around
    def never(request: Any) -> Generator[None, Any, None]:
        if request is None:
            yield

    with pytest.raises(ConfigError, match="yielded again"):
        chain([twice], str.upper)("x")
    with pytest.raises(ConfigError, match="did not yield"):
        chain([never], str.upper)("x")


def test_around_a_bulk_does_not_wait_for_its_messages() -> None:
    """A batch can be awaited, and that takes until its messages have run: the middleware is over before."""
    log: list[str] = []

    class Batch:
        def __await__(self) -> Generator[Any, Any, None]:
            raise AssertionError("nobody asked for that")

    @around
    def logged(request: str) -> Generator[None, Any, None]:
        yield
        log.append("after")

    outcome = chain([logged], lambda request: Batch())("x")
    assert isinstance(outcome, Batch)
    assert log == ["after"]


async def test_a_bulk_passes_its_own_seam_once_and_that_of_each_call_inside_it() -> None:
    app, log = TaskQ("shop"), list[str]()

    @app.middleware("enqueue_many")
    @around
    def whole(request: Any) -> Generator[None, Any, None]:
        log.append(f"bulk of {len(request.items)} to {', '.join(sorted(request.queues))}")
        batch = yield
        log.append(f"batch of {len(batch)}")

    @app.middleware("enqueue")
    @around
    def each(request: Any) -> Generator[None, Any, None]:
        log.append(request.task)
        yield

    with memory(app):
        calls = [app.remote(f"shop.{name}", queue=name).call(1) for name in ("mail", "images")]
        await app.aenqueue_many(calls)
        await app.remote("shop.mail", queue="mail").aenqueue_many([(1,), (2,)])
    assert log == [
        *("bulk of 2 to images, mail", "shop.mail", "shop.images", "batch of 2"),
        *("bulk of 2 to mail", "shop.mail", "shop.mail", "batch of 2"),
    ]
