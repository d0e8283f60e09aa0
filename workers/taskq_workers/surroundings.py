"""What a child asks of its system: to end with its parent, how much memory it uses, whether it can open a file."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from pathlib import Path

from taskq_workers import exits


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
