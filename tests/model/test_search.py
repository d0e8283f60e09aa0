"""The model is searched to the end, and every mutant of it is found out; `-s` or a plain run shows what was seen.

python -m pytest tests/model/test_search.py -n0 -k mutant      the shortest failing trace of each mutant
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.catalogue import NAIVE, SMALL
from tests.model.mutants import MUTANTS, Mutant
from tests.model.play import Play
from tests.model.scenarios import SCENARIOS
from tests.model.search import CounterExample, explore
from tests.model.small import Small
from tests.model.world import Scenario

Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]) -> Say:
    """Print past pytest's capture, and keep it in the report."""

    def out(text: str) -> None:
        record_property("model", text)
        with capsys.disabled():
            print(f"\n{text}", end="")

    return out


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_no_order_of_events_breaks_the_lease_protocol(scenario: Scenario, say: Say) -> None:
    report = explore(Play(scenario))
    say(f"model: {scenario.name}: {report.states:,} states, {report.edges:,} moves")
    assert report.states > 50, "a scenario in which nothing can happen"


@pytest.mark.parametrize("name", SMALL)
def test_no_order_of_events_breaks_a_small_model(name: str, say: Say) -> None:
    report = explore(SMALL[name]())
    say(f"model: {name}: {report.states} states, {report.edges} moves")
    assert report.states > 1


def found_out(game: Play | Small, name: str, say: Say) -> None:
    with pytest.raises(CounterExample) as caught:
        explore(game)
    say(f"mutant: {name}: {caught.value}")
    assert not caught.value.reason.startswith("stuck") or caught.value.states > 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_the_lease_protocol_does_not_survive(mutant: Mutant, say: Say) -> None:
    found_out(mutant.game(SCENARIOS), mutant.name, say)


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_design_does_not_survive(name: str, say: Say) -> None:
    found_out(NAIVE[name](), name, say)
