"""`python -m taskq_workers` and the console script: the command, and an answer to Ctrl+C while it is still imported."""

from __future__ import annotations

import os
import sys

try:
    from taskq_workers.cli import main
except KeyboardInterrupt:
    # The imports take longer than a hasty hand. Nothing has begun that would have to be put in order.
    os.write(2, b"error: interrupted\n")
    sys.exit(130)

__all__ = ["main"]

if __name__ == "__main__":
    main()
