"""The catalogue fits the scripts as they are now: a mutant whose text has gone would break nothing."""

from __future__ import annotations

from tests.mutants.catalogue import all_mutants
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutant import BROKEN, scripts, source, thought_of

LEAST = 5  # of each script, thought of by somebody
SMALL = 8  # lines of a part for which two are enough


def test_each_script_has_mutants_and_each_list_has_a_script() -> None:
    lists = {path.relative_to(BROKEN).with_suffix("").as_posix() for path in BROKEN.rglob("*.txt")}
    assert lists == set(scripts())
    for script in scripts():
        least = 2 if source(script).count("\n") <= SMALL else LEAST
        assert len(list(thought_of(script))) >= least, script


def test_names_of_scripts_do_not_collide() -> None:
    found = scripts()
    assert len(set(found)) == len(found)
    assert {"lease", "streams/parts/lease", "streams/watch"} <= set(found)


def test_names_are_unique_and_something_is_changed() -> None:
    mutants = all_mutants()
    assert len({(mutant.script, mutant.name) for mutant in mutants}) == len(mutants)
    assert all(mutant.text != source(mutant.script) for mutant in mutants)


def test_what_is_called_equivalent_is_a_mutant_and_has_a_reason() -> None:
    assert set(EQUIVALENT) <= {(mutant.script, mutant.name) for mutant in all_mutants()}
    assert all(len(reason) > 20 for reason in EQUIVALENT.values())
