"""When a thread may be interrupted: not while it is inside code that would leave a lock held behind it.

`logging` takes a lock in one call and gives it back in another; an error that arrives between the two keeps it for
ever, and every thread that logs hangs. What waits in `threading` may be interrupted: its waits put things right. Locks
that a task takes by itself, without `with`, are its own affair.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

_LOGGING = str(Path(logging.__file__).parent)
_LOCKS = (threading.__file__, queue.__file__)
_WAITS = ("wait", "wait_for", "join", "_wait_for_tstate_lock", "get", "put")
_IMPORTING = "<frozen importlib"


def still(ident: int, outermost: CodeType) -> bool:
    """Whether a thread stands at a place where an error may be raised in it; `outermost` is where its task begins.

    It is looked at twice: while this thread went through the frames, that one may have gone on.
    """
    frame = _top(ident)
    if frame is None:
        return False
    at = frame.f_lasti
    return _harmless(frame, outermost) and _top(ident) is frame and frame.f_lasti == at


def _top(ident: int) -> FrameType | None:
    # Private by its name only: it is documented, and there is no other way to see another thread.
    return sys._current_frames().get(ident)  # pyright: ignore[reportPrivateUsage]


def _harmless(top: FrameType, outermost: CodeType) -> bool:
    if top.f_code.co_filename.startswith(_IMPORTING):  # but a module that is being imported may be interrupted
        return False
    frame: FrameType | None = top
    while frame is not None and frame.f_code is not outermost:
        name = frame.f_code.co_filename
        if name.startswith(_LOGGING) or (name in _LOCKS and frame.f_code.co_name not in _WAITS):
            return False
        frame = frame.f_back
    return True
