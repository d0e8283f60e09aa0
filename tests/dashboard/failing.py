"""The dashboard over a made-up source that breaks when the file named as argument is there."""

from __future__ import annotations

import sys
from pathlib import Path

from taskq.snapshot import Snapshot
from taskq_dashboard.start import Wishes, start
from tests.dashboard.made_up import FakeSource


class Breaking(FakeSource):
    """A mistake of ours, in a thread that the loop does not see."""

    def look(self, focus: str = "", *, every: bool = False) -> Snapshot:
        if Path(sys.argv[1]).exists():
            raise ZeroDivisionError("a mistake of ours")
        return super().look(focus, every=every)


if __name__ == "__main__":
    sys.exit(start(Breaking(), Wishes(interval=0.1)))
