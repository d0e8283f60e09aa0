"""`python -m taskq_workers` is `taskq`."""

from __future__ import annotations

from taskq_workers.cli import main

if __name__ == "__main__":
    main()
