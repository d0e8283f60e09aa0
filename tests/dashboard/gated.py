"""The dashboard on a real namespace, whose orders wait at a gate after so many messages.

Arguments: url, namespace, how many, and the file that opens the gate once it is there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from taskq.desk import open_desk
from taskq.settings import Settings
from taskq_dashboard.source import Live, Tell
from taskq_dashboard.start import Wishes, start
from taskq_dashboard.state import Order


class Gated(Live):
    """Stands still after a step until somebody has seen it."""

    gate: Path
    after: int

    def carry_out(self, order: Order, tell: Tell) -> str:
        def gated(done: int) -> None:
            while done >= self.after and not self.gate.exists():
                tell_without_stopping(done)
                time.sleep(0.02)
            tell(done)

        def tell_without_stopping(done: int) -> None:
            try:
                tell(done)
            except Exception:
                return

        return super().carry_out(order, gated)


if __name__ == "__main__":
    url, namespace, after, gate = sys.argv[1:]
    with open_desk(Settings(Path.cwd()), url, None, namespace) as desk:
        source = Gated(desk)
        source.after, source.gate = int(after), Path(gate)
        sys.exit(start(source, Wishes(interval=0.1)))
