"""docs/reference.md is true: its code runs beside a worker, and what it says of logs and tracebacks is so."""

from __future__ import annotations

import re

from tests.examples.conftest import ROOT, Bench

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reference.md").read_text("utf-8"), re.DOTALL)


def test_its_code_runs(bench: Bench) -> None:
    shop, use, more = BLOCKS
    for name, text in (("shop.py", shop), ("use.py", use), ("more.py", more)):
        (bench.tmp / name).write_text(text)
    (bench.tmp / "both.py").write_text("import more\nfrom shop import app\n")
    with bench.worker("both:app", cwd=bench.tmp, verbose=False) as log:
        said = bench.python("use.py", cwd=bench.tmp).splitlines()
    told = [line for line in said if not line.startswith("enqueued shop.")]
    assert told == [
        "7",
        "sent 7",
        "delayed",
        "False",
        "sent 0",
        "{'done': 2} ['sent 1', 2]",
        "sent 9",
        "{'done': 2}",
        "dead",
    ]
    assert set(said) - set(told) == {
        f"enqueued shop.{what}" for what in ("charge True", "send True", "send False", "charge False")
    }
    lines = log.read_text()
    assert "shop: charging 7" in lines
    assert "running shop.charge [7]" in lines
    assert "dead shop.send (-1,) taskq.errors.Reject" in lines
    assert "Traceback" not in lines
