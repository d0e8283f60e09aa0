"""One publish on its way: what to send next, what was appended, what is unconfirmed. No I/O: both faces drive it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from taskq.errors import BrokerError, BrokerUnavailable, OutOfOrder, PublishUnconfirmed, TaskqError
from taskq.events.calls import WINDOW, Gap, Seat, publish
from taskq.events.lanes import Lane, LanePool
from taskq.events.log import Log
from taskq.events.outgoing import Batch
from taskq.events.properties import TopicProperties
from taskq.events.record import Offset, Published
from taskq.store.scripts import Call
from taskq.values import count_of


class Run:
    """The batches of one publish that go to one partition, in order, on one lane."""

    __slots__ = ("answers", "batches", "doubt", "lane", "named", "partition", "under_way")

    def __init__(self, partition: int, lane: Lane, batches: list[Batch], named: str = "") -> None:
        self.named = named
        self.partition = partition
        self.lane = lane
        self.batches = batches
        self.answers: list[str] = []
        self.under_way = 0
        self.doubt = False  # whether some call was sent and has no answer

    @property
    def left(self) -> int:
        return len(self.batches) - len(self.answers)

    def next(self) -> list[tuple[int, Batch]]:
        """The calls to send now, with their numbers."""
        begin = len(self.answers)
        some = self.batches[begin : begin + WINDOW]
        self.under_way = len(some)
        return [(self.lane.number + place, batch) for place, batch in enumerate(some, 1)]

    def take(self, answers: Sequence[str | TaskqError]) -> TaskqError | None:
        """Learn the answers; the error that stopped it, if one did."""
        doubted, self.doubt = self.doubt, False
        for place, answer in enumerate(answers):
            if isinstance(answer, str):
                self.answers.append(answer)
                self.lane.number += 1
                continue
            if isinstance(answer, Gap):
                if self.named:
                    return OutOfOrder(
                        f"publisher {self.named!r} has number {self.lane.number + place + 1} for partition"
                        f" {self.partition}, which is not the next one there"
                    )
                if place == 0:
                    # Not taken, and the server knows nothing of what went before on this lane: it has lost its data.
                    self.lane = Lane()
                return None
            if isinstance(answer, BrokerUnavailable):
                self.doubt = answer.sent or doubted
            return answer
        return None


class Sending:
    """Ask `calls` and send them, tell `take` what came back, until `calls` is empty."""

    def __init__(self, log: Log, lanes: LanePool, properties: TopicProperties, batches: Sequence[Batch]) -> None:
        self._log, self._lanes, self.properties = log, lanes, properties
        by_partition: dict[int, list[Batch]] = {}
        for batch in batches:
            by_partition.setdefault(batch.partition, []).append(batch)
        self.runs = [self.run(number, some) for number, some in by_partition.items()]
        self.error: TaskqError | None = None
        self._done = False

    def calls(self) -> list[Call[str]]:
        """What to send now; empty when all is over."""
        found: list[Call[str]] = []
        for run in self.runs:
            run.under_way = 0
            if run.left and (self.error is None or run.doubt):
                keys = self._log.keys.partition(run.partition)
                seat = self.seat(run)
                found += [publish(keys, seat, number, batch, self.properties) for number, batch in run.next()]
        return found

    def run(self, partition: int, batches: list[Batch]) -> Run:
        """What goes to one partition, on a lane of its own."""
        return Run(partition, self._lanes.take(partition), batches)

    def seat(self, run: Run) -> Seat:
        """Where a run is counted."""
        return Seat(self._log.keys.partition(run.partition).lane(run.lane.nonce))

    def take(self, answers: Sequence[str | TaskqError]) -> BrokerUnavailable | None:
        """Learn the answers to `calls`; returns why some have to be sent again, None if they go on.

        Raises the error of a call that was refused, once nothing is in doubt any more.
        """
        lost: BrokerUnavailable | None = None
        at = 0
        for run in self.runs:
            if run.under_way:
                error = run.take(answers[at : at + run.under_way])
                at += run.under_way
                if isinstance(error, BrokerUnavailable):
                    lost = error
                elif error is not None:
                    self.error = self.error or error
        if self.error is not None and not any(run.doubt for run in self.runs):
            raise self._with_accepted(self.error)
        return lost

    def done(self) -> Receipts:
        """What became of each record; the lanes are free again."""
        if not self._done:  # whoever confirms twice must not make two users of one lane
            self._done = True
            for run in self.runs:
                self._lanes.give(run.partition, run.lane)
        return Receipts(self.runs)

    def stale(self) -> bool:
        """Whether it is too late to send anything again: the server may have forgotten a lane."""
        return any(run.lane.stale for run in self.runs if run.left)

    def unconfirmed(self, timeout: float, cause: TaskqError) -> TaskqError:
        """Time is up. If there was no connection to send anything on, nothing is in doubt: that error says so."""
        left = sum(len(batch.places) for run in self.runs for batch in run.batches[len(run.answers) :])
        where = f"topic {self._log.name!r}"
        if not any(run.doubt or run.answers for run in self.runs):
            return BrokerUnavailable(f"nothing was published to {where} within {timeout:g} s: {cause}")
        return self._with_accepted(
            PublishUnconfirmed(
                f"{count_of(left, 'record')} for {where} {'was' if left == 1 else 'were'} not confirmed within"
                f" {timeout:g} s and may or may not be there; topic.confirm(error) sends again what is in doubt, and"
                f" appends nothing twice ({cause})",
                left,
                self,
            )
        )

    def _with_accepted(self, error: TaskqError) -> TaskqError:
        if isinstance(error, BrokerError):
            told = [one for _, one in placed(self.runs)]
            error.accepted = tuple(f"{self._log.name}/{one.partition}/{one.offset}" for one in told)
        return error


class Receipts(Sequence[Published]):
    """Where the records of one publish are, in the order in which they were given; worked out when looked at."""

    __slots__ = ("_found", "_runs")

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self._found: list[Published] | None = None

    def _all(self) -> list[Published]:
        found = self._found
        if found is None:
            found = self._found = [one for _, one in sorted(placed(self._runs), key=lambda pair: pair[0])]
        return found

    @property
    def partitions(self) -> list[int]:
        """The partitions that got some of them."""
        return [run.partition for run in self._runs]

    def __len__(self) -> int:
        return sum(len(batch.places) for run in self._runs for batch in run.batches)

    @overload
    def __getitem__(self, index: int) -> Published: ...
    @overload
    def __getitem__(self, index: slice) -> list[Published]: ...
    def __getitem__(self, index: int | slice) -> Published | list[Published]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Published]:
        return iter(self._all())

    def __repr__(self) -> str:
        return f"<Receipts of {count_of(len(self), 'record')}>"


def placed(runs: Sequence[Run]) -> Iterator[tuple[int, Published]]:
    """(place in what was given, where it is) of all records that were appended."""
    for run in runs:
        for batch, answer in zip(run.batches, run.answers, strict=False):
            yield from _of_batch(run.partition, batch, answer)


def _of_batch(partition: int, batch: Batch, answer: str) -> Iterator[tuple[int, Published]]:
    ids = [one.lstrip("=").split("-") for one in answer.split(" ")]
    if batch.given:
        for place, (one, two), told in zip(batch.places, ids, answer.split(" "), strict=True):
            yield place, Published(partition, Offset(int(one), int(two)), told[0] != "=")
        return
    ms, seq = int(ids[0][0]), int(ids[0][1])
    if not batch.counts:
        for at, place in enumerate(batch.places):
            yield place, Published(partition, Offset(ms, seq + at))
        return
    places = iter(batch.places)
    for entry, count in enumerate(batch.counts):
        for item in range(count):
            yield next(places), Published(partition, Offset(ms, seq + entry, item))
