"""A supervisor with fake children, as a program: the settings are one argument of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from taskq.errors import TaskqError
from taskq_workers import exits, log
from taskq_workers.config import WorkerConfig
from taskq_workers.supervisor import Supervisor


def main() -> int:
    config = WorkerConfig(app="fake:app", **json.loads(sys.argv[1]))
    log.configure(config.log_format, config.verbosity, "worker")
    child = Path(__file__).with_name("fake_child.py")
    try:
        return Supervisor(config, command=[sys.executable, str(child)]).run()
    except TaskqError as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.code_for(error)


if __name__ == "__main__":
    sys.exit(main())
