"""The protocol with one rule broken: each must be found out in the scenario named with it.

Most are the naive designs that well-known queues have had; a model that lets one of them live is not to be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.model import broken_rules as broken
from tests.model.play import Play
from tests.model.search import Move
from tests.model.store import Token
from tests.model.upkeep import Queue
from tests.model.world import Job, Worker, World


@dataclass(frozen=True)
class Mutant:
    """Its name says what is broken."""

    name: str
    scenario: str
    queue: type[Queue] = Queue
    play: type[Play] = Play

    def game(self, scenarios: Any) -> Play:
        return self.play(scenarios[self.scenario], self.queue)


class GapIsAccepted(Play):
    def moved(self, world: World) -> World:
        state, sends = world.producer, self.scenario.sends
        ids = {message.id for message in sends[state.sent]}
        return world._replace(producer=state._replace(sent=state.sent + 1, call=None), promised=world.promised | ids)


class NewLaneUnchecked(Play):
    def moved(self, world: World) -> World:
        after = super().moved(world)
        call = after.producer.call
        assert call is not None
        plain = tuple(message._replace(explicit=False) for message in call.args[0])
        return after._replace(producer=after.producer._replace(call=call._replace(args=(plain,))))


class TokenIsWorker(Play):
    def token(self, world: World, nonce: Any) -> Token:
        return ("w", 1)


class TokenIsCounter(Play):
    def token(self, world: World, nonce: Any) -> Token:
        return ("t", int(world.queue.meta.get("fence", 0)))


class StartIsNotStoredFirst(Play):
    def begin(self, world: World, slot: int, worker: Worker, job: Job, label: str) -> Iterator[Move]:
        once, self.scenario.__dict__["once"] = self.scenario.once, frozenset()
        yield from super().begin(world, slot, worker, job, label)
        self.scenario.__dict__["once"] = once


class ReaperDoesNotBury(Play):
    def keeper(self, world: World) -> Iterator[Move]:
        yield from super().keeper(world._replace(condemned=frozenset()))


class NobodyReclaims(Play):
    """A lease without anybody who looks at deadlines, or a sweep that one bad record stops."""

    def keeper(self, world: World) -> Iterator[Move]:
        for label, healthy, reached in super().keeper(world):
            if not label.startswith("lapse"):
                yield label, healthy, reached


LATE = "replies lost and calls that come late"
STALL = "a stall, and a call that comes late"
UNIQUE_KEY = "unique"
MUTANTS = (
    Mutant("enqueue is not idempotent", LATE, broken.NoLanes),
    Mutant("an id is known only while its message lives", LATE, broken.OnlyWhatLivesIsKnown),
    Mutant("a gap is taken for an answer", "failover between two enqueues", play=GapIsAccepted),
    Mutant("a new lane does not check the ids", "a lane that is forgotten", play=NewLaneUnchecked),
    Mutant("an explicit id leaves no tombstone", "ids of one's own", broken.NoTombstone),
    Mutant("pop, then run", LATE, broken.PopThenRun),
    Mutant("a repeated lease takes more", "two messages, one at a time", broken.RepeatedLeaseTakesMore),
    Mutant("a held token is not known again", "worker keys that expire too early", broken.OnlyNumbersAreKnownAgain),
    Mutant("a repeated lease gets nothing", LATE, broken.RepeatedLeaseGetsNothing),
    Mutant("a leased message stays in its list", LATE, broken.TakesFromHolders),
    Mutant("the token is the worker's name", STALL, play=TokenIsWorker),
    Mutant("the token is a counter of the server", "failover to a replica that lags", play=TokenIsCounter),
    Mutant("a dead child is not retired", LATE, broken.DeadChildIsNotRetired),
    Mutant("ack without token", STALL, broken.without_token("ack")),
    Mutant("nack without token", "all outcomes", broken.without_token("nack")),
    Mutant("dead_letter without token", "all outcomes", broken.without_token("dead_letter")),
    Mutant("release without token", "given back and set aside", broken.without_token("release")),
    Mutant("park without token", "given back and set aside", broken.without_token("park")),
    Mutant("marks without token", STALL, broken.MarksWithoutToken),
    Mutant("a heartbeat is a plain ZADD", STALL, broken.HeartbeatIsPlainZadd),
    Mutant("a repeated settling call is taken for a new one", LATE, broken.RepeatedOpIsNew),
    Mutant("a token outlives its messages", LATE, broken.TokenOutlivesItsMessages),
    Mutant("no limit of deaths", "a poison message", broken.NoLimitOfDeaths),
    Mutant("a repeated death counts twice", "a poison message", broken.RepeatedDeathCountsTwice),
    Mutant("suspects run together", "a poison message", broken.SuspectsRunTogether),
    Mutant("a condemned message loses its deadline", "a poison message", broken.CondemnedIsForgotten),
    Mutant("condemned and never buried", "a poison message", play=ReaperDoesNotBury),
    Mutant("everything held is blamed", "two messages of one call", broken.EverythingHeldIsBlamed),
    Mutant("the deadline is not asked again", STALL, broken.DeadlineNotAskedAgain),
    Mutant("nobody looks at deadlines", "dying children and hosts", play=NobodyReclaims),
    Mutant("a recall takes what runs", "recalled from a stuck child", broken.RecallTakesWhatRuns),
    Mutant("what may not run twice is forgotten when it ended", "at most once", broken.OnceIsForgottenWhenItEnded),
    Mutant("what may not run twice is not condemned", "at most once", broken.OnceIsRunAgain),
    Mutant("a start is not stored first", "at most once", play=StartIsNotStoredFirst),
    Mutant("a stale ack frees the unique key", UNIQUE_KEY, broken.UniqueFreedByStale),
    Mutant("a unique key with a time to live", UNIQUE_KEY, broken.UniqueFreedEarly),
    Mutant("a unique key is kept by the dead", UNIQUE_KEY, broken.UniqueKeptWhenOver),
    Mutant("a unique key is kept by the cancelled", "unique, cancelled", broken.UniqueKeptWhenOver),
    Mutant("a unique key is not asked for", UNIQUE_KEY, broken.UniqueNotAsked),
    Mutant("cancel takes from the holder", "cancelled", broken.CancelTakesFromHolder),
    Mutant("cancel leaves no mark", "cancelled", broken.CancelLeavesNoMark),
    Mutant("a cancel request outlives its message", "cancelled", broken.RequestOutlivesMessage),
    Mutant("error lines outlive their message", "all outcomes", broken.ErrorsOutliveMessage),
)
