"""Explicit-state search: every state that some order of moves can reach, the shallowest first.

Safety is checked in each state, and by the moves themselves. Progress is: from each reachable state a goal can be
reached by healthy moves alone, that is without a further fault, which is what "nothing gets stuck" means.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Move: TypeAlias = "tuple[str, bool, Any]"
"""What happens, in words; whether it is healthy; the state that it leads to."""

STATES_MAX = 400_000


class Broken(Exception):
    """A rule does not hold; the text says which one. `move` is what broke it, if it was a move."""

    def __init__(self, reason: str, move: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.move = move


class CounterExample(Exception):
    """A shortest way into a breach."""

    def __init__(self, reason: str, trace: list[str], states: int) -> None:
        super().__init__(f"{reason}:\n  " + "\n  ".join(trace or ["(at once)"]) + f"\n  ({states} states seen)")
        self.reason = reason
        self.trace = trace
        self.states = states


class Game(Protocol):
    """What is searched: states are values; `key` says which of them are the same."""

    def start(self) -> Any: ...
    def moves(self, state: Any, /) -> Iterable[Move]: ...
    def key(self, state: Any, /) -> Hashable: ...
    def check(self, state: Any, /) -> None: ...
    def over(self, state: Any, /) -> bool: ...


@dataclass(frozen=True)
class Report:
    states: int
    edges: int


class _Graph:
    """What was seen: a number for each state, how it was reached first, and the healthy edges backwards."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.parents = array("i")
        self.labels: list[str] = []
        self.sources = array("i")  # of healthy edges
        self.targets = array("i")
        self.goals: list[int] = []
        self.edges = 0

    def add(self, key: Hashable, parent: int, label: str) -> int:
        self.numbers[key] = number = len(self.labels)
        self.parents.append(parent)
        self.labels.append(label)
        return number

    def trace(self, number: int) -> list[str]:
        steps: list[str] = []
        while number > 0:
            steps.append(self.labels[number])
            number = self.parents[number]
        return steps[::-1]

    def stuck(self) -> int | None:
        """The first state from which no goal can be reached by healthy moves."""
        before: list[list[int]] = [[] for _ in self.labels]
        for source, target in zip(self.sources, self.targets, strict=True):
            before[target].append(source)
        fine = bytearray(len(self.labels))
        todo = self.goals
        for number in todo:
            fine[number] = 1
        while todo:
            for source in before[todo.pop()]:
                if not fine[source]:
                    fine[source] = 1
                    todo.append(source)
        found = fine.find(0)
        return None if found < 0 else found


def explore(game: Game, states_max: int = STATES_MAX) -> Report:
    """Look at everything. Raises CounterExample."""
    gc.disable()  # millions of small tuples and not one ring: the collector would only take time
    try:
        return _explore(game, states_max)
    finally:
        gc.enable()


def _explore(game: Game, states_max: int) -> Report:
    graph = _Graph()
    start = game.start()
    graph.add(game.key(start), -1, "")
    frontier = [start]
    number = 0
    while frontier:
        following: list[Any] = []
        for state in frontier:
            _visit(graph, game, number, state, following)
            number += 1
        if len(graph.labels) > states_max:
            raise RuntimeError(f"more than {states_max} states")
        frontier = following
    stuck = graph.stuck()
    if stuck is not None:
        raise CounterExample("stuck: no healthy way to an end from here", graph.trace(stuck), len(graph.labels))
    return Report(len(graph.labels), graph.edges)


def _visit(graph: _Graph, game: Game, number: int, state: Any, following: list[Any]) -> None:
    if game.over(state):
        graph.goals.append(number)
    numbers = graph.numbers
    try:
        game.check(state)
        for label, healthy, reached in game.moves(state):
            key = game.key(reached)
            target = numbers.get(key)
            if target is None:
                target = graph.add(key, number, label)
                following.append(reached)
            graph.edges += 1
            if healthy:
                graph.sources.append(number)
                graph.targets.append(target)
    except Broken as broken:
        steps = graph.trace(number) + ([broken.move] if broken.move else [])
        raise CounterExample(broken.reason, steps, len(graph.labels)) from None
