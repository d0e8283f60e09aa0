"""`python -m taskq`: the command `taskq`, of the interpreter that is named.

By name, since this floor imports nothing of the floor where the command lives; both come in one distribution.
"""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("taskq_workers", run_name="__main__", alter_sys=True)
