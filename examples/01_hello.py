"""Hello: a task, a message, a result.

In this folder, in one terminal (a server and a worker):    taskq dev 01_hello:app
In another one:                                             python 01_hello.py
"""

from __future__ import annotations

from taskq import TaskQ

app = TaskQ("hello")


@app.task
def greet(name: str) -> str:
    return f"Hello, {name}!"


if __name__ == "__main__":
    print(greet("nobody"))  # just a call, here and now

    handle = greet.enqueue("world")  # a message; a worker runs it
    print(handle.result(timeout=30))
