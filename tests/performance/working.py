"""The app of the worker whose commands are counted."""

from __future__ import annotations

import os

from tests.performance.parts import QUEUE, make_app

NAMESPACE = "performance"
MISDEED = "PERFORMANCE_MISDEED"
"""The environment variable with which each task asks the server something by itself."""

app = make_app(NAMESPACE, os.environ.get("PERFORMANCE_URL"))


@app.task(queue=QUEUE, result_ttl=0)
def counted(number: int) -> None:
    if MISDEED in os.environ:
        app.broker().link.execute("EXISTS", "nothing")
