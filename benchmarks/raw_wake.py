"""The least that an idle process does to take a call and answer it: BLPOP, decode, call, and RPUSH of the answer.

`python -m benchmarks.raw_wake` runs until it is ended; it says on a list that it waits.
"""

from __future__ import annotations

import os

import orjson

from benchmarks.ledger import Ledger
from benchmarks.raw_loop import connect

CALLS, ANSWERS = "wake:calls", "wake:answers"


def main() -> None:
    client, ledger = connect(os.environ["BENCH_URL"]), Ledger.of_environment()
    while True:
        _, body = client.blpop(CALLS)
        slot, answer = orjson.loads(body)
        ledger.mark(slot)
        if answer:
            client.rpush(ANSWERS, orjson.dumps(slot))


if __name__ == "__main__":
    main()
