"""The demo's app and its one task; the worker imports it like anybody's."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import tokenize
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from taskq import RetryPolicy, TaskQ, current
from taskq.errors import ConfigError
from taskq_workers.demo.ledger import VARIABLE, Writer

QUEUE = "files"

app = TaskQ("demo")


@dataclass(frozen=True)
class Indexed:
    """What is known of one source file."""

    definitions: int
    tokens: int
    sha256: str


@app.task(queue=QUEUE, timeout=60, retry=RetryPolicy(max_attempts=3, base=0.5, cap=2))
def index_file(path: str) -> Indexed:
    """Parse one file, count its definitions and tokens, and hash it; a file that is not Python fails each time."""
    ledger, me = writer(), current()
    ledger.write("start", me)
    try:
        indexed = index(Path(path).read_bytes(), Path(path).name)
    except Exception:
        ledger.write("failed", me)
        raise
    ledger.write("done", me)
    return indexed


def index(source: bytes, name: str) -> Indexed:
    """The figures of one source text; `name` is for the text of its errors."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    definitions = sum(isinstance(node, kinds) for node in ast.walk(ast.parse(source, name)))
    tokens = sum(1 for _ in tokenize.tokenize(io.BytesIO(source).readline))
    return Indexed(definitions, tokens, hashlib.sha256(source).hexdigest())


@cache
def writer() -> Writer:
    """This process's end of the ledger, opened at the first use."""
    path = os.environ.get(VARIABLE)
    if path is None:
        raise ConfigError(f"{VARIABLE} is not set: these tasks are run by `taskq demo`")
    return Writer(Path(path))


@app.on_startup
def be_quiet() -> None:
    """Old sources make the parser warn; that is their matter."""
    warnings.simplefilter("ignore")
