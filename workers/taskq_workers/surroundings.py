"""What a child asks of its system: to end with its parent, how much memory it uses, whether it can open a file; and of
its interpreter: to collect seldom."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import signal
import sys
from pathlib import Path

from taskq_workers import exits

COLLECT_AFTER = 10_000  # objects that were made and not freed since the collector looked
_PYTHONS_OWN = (700, 2_000)  # until Python 3.12, and since


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux); elsewhere the pipe tells."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(exits.FORCED)


def memory_mb() -> int:
    """Resident memory in MiB; the peak where the present value cannot be had."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize() // 1_048_576
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // (1_048_576 if sys.platform == "darwin" else 1024)


def descriptor_left() -> bool:
    """Whether this process could open one more file: tasks that leak them leave none, and it does not get better."""
    try:
        os.close(os.dup(0))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def collect_seldom() -> None:
    """Have the cyclic collector look less often, unless somebody has said how often; an app may set what it likes.

    Messages in hand are some tens of thousands of objects that come and go: with 700 it went through all of them, and
    the whole app, several times a second, 28 ms each time and a sixth of a busy child's CPU.
    """
    if gc.get_threshold()[0] in _PYTHONS_OWN:
        gc.set_threshold(COLLECT_AFTER)
