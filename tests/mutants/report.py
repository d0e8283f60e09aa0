"""What a run found: a line for each mutant, the totals, and the page that is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.mutants.mutant import Mutant
from tests.mutants.plugin import BASELINE, Result

BAD = ("SURVIVED", "UNRUN", "UNCLEAR", "WRONG")


class Report:
    """Results as they come. `EQUIVALENT` mutants are run like all others: one that is killed has a wrong reason."""

    def __init__(self, mutants: Sequence[Mutant], equivalent: Mapping[tuple[str, str], str]) -> None:
        self.mutants = {(mutant.script, mutant.name): mutant for mutant in mutants}
        self.equivalent = equivalent
        self.found: dict[tuple[str, str], tuple[str, Result]] = {}
        self.failed = False

    def add(self, result: Result) -> None:
        if result.script == BASELINE:
            self._baseline(result)
            return
        key = result.script, result.name
        word = result.verdict if result.verdict == "killed" else result.verdict.upper()
        if key in self.equivalent:
            word = "equivalent" if result.verdict == "survived" else "WRONG"
        self.found[key] = word, result
        by = f" - by {result.test}" if result.test else ""
        print(f"{word:<10} {self.mutants[key]}{by} ({result.seconds:.1f} s)", flush=True)

    def _baseline(self, result: Result) -> None:
        said = {
            "survived": f"the true scripts pass all tests, and all of them are run, in {result.seconds:.0f} s",
            "killed": f"the true scripts FAIL {result.test}: nothing can be said about mutants",
            "unrun": f"no test RUNS {result.test}: nothing can be said about mutants",
        }
        self.failed = self.failed or result.verdict != "survived"
        print(said[result.verdict], flush=True)

    def lost(self, noise: str) -> None:
        self.failed = True
        print(f"a worker ended early:\n{noise}", flush=True)

    def counts(self) -> Counter[str]:
        return Counter(word for word, _ in self.found.values())

    def good(self) -> bool:
        return not self.failed and self.found.keys() == self.mutants.keys() and not set(self.counts()) & set(BAD)

    def totals(self) -> str:
        lines = [f"{word:<10} {self.mutants[key]}" for key, (word, _) in self.found.items() if word in BAD]
        missing = [f"not run    {mutant}" for key, mutant in self.mutants.items() if key not in self.found]
        counts = self.counts()
        total = f"{len(self.found)} mutants: " + ", ".join(f"{n} {word}" for word, n in counts.most_common())
        return "\n".join([*lines, *missing[:10], total])


def page(report: Report) -> str:
    """The page docs/mutants.md."""
    scripts = sorted({script for script, _ in report.found})
    lines = [
        "# Mutants of the scripts",
        "",
        "Written by `python -m tests.mutants --write docs/mutants.md`; [the model](model.md) tells what that does.",
        "Each mutant is a script with one thing broken; named with it is the first test that failed.",
        "",
        "| Script | Mutants | Killed | Equivalent |",
        "| --- | --- | --- | --- |",
    ]
    total: Counter[str] = Counter()
    for script in scripts:
        words = Counter(word for (name, _), (word, _) in report.found.items() if name == script)
        total += words
        lines.append(f"| {script} | {words.total()} | {words['killed']} | {words['equivalent']} |")
    lines.append(f"| all | {total.total()} | {total['killed']} | {total['equivalent']} |")
    lines += ["", "## Equivalent", "", "No test can tell these from the script itself.", ""]
    lines += [f"- {report.mutants[key]}. {report.equivalent[key]}" for key in _keys(report, "equivalent")]
    lines += ["", "## Killed"]
    for script in scripts:
        lines += ["", f"### {script}", "", "| Rule | Broken | First test that fails |", "| --- | --- | --- |"]
        for key in _keys(report, "killed"):
            if key[0] == script:
                mutant, test = report.mutants[key], report.found[key][1].test
                cells = (mutant.rule, mutant.name, f"`{test.removeprefix('tests/')}`")
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _keys(report: Report, word: str) -> list[tuple[str, str]]:
    return [key for key in report.mutants if report.found[key][0] == word]
