"""Memory over an hour of load: one worker with much of what it can do, at a steady rate; the sizes at both ends."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from benchmarks import lasting_app as load
from benchmarks.bench import Bench, wait_for
from benchmarks.figures import Report, Row, number, spread
from benchmarks.idle import pss_mib
from benchmarks.machine import Load
from benchmarks.processes import MeasurementFailed, Running, environment, worker_command
from benchmarks.server import Server
from taskq import Event
from taskq.inspector import Inspector

SECONDS, WARM_S, END_S = 3_600, 300, 300
_STEP_S, _LOOK_S, _PATIENCE_S = 0.1, 5.0, 60.0
_TEXTS = tuple("x" * size for size in (10, 100, 1_000, 10_000))
_PLAIN, _FAILING, _UNIQUES = 50, 2, 20
_START_S = 10.0
_NEVER_DONE = 1  # what is periodic comes each second
_STEP = 4 * _PLAIN + 2 * _FAILING + 2
NAMES = ("supervisor", "children", "server")


@dataclass(frozen=True, slots=True)
class Reading:
    """MiB of the supervisor, of its children together, and of the server's data; keys that the server has."""

    at: float
    supervisor: float
    children: float
    server: float
    keys: int


@dataclass(slots=True)
class Course:
    """What a run has sent so far, and read."""

    began: float = field(default_factory=time.monotonic)
    sent: int = 0
    readings: list[Reading] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def span(self, first: float, last: float) -> list[Reading]:
        return [one for one in self.readings if first <= one.at <= last]


def measure(bench: Bench) -> Report:
    """An hour of it; raises MeasurementFailed if the worker ended, or is not done with all of it a minute later."""
    seconds, others, _ = bench.size(SECONDS, 60), Load(), bench.ledger
    with Server() as server:
        load.app.broker(server.url)
        command = worker_command(server.url, load.LISTED, 2, app="benchmarks.lasting_app:app")
        environ = environment(server.url, bench.ledger_path)
        with Running([[*command, "-q", load.STREAMED]], environ, bench.log("lasting")) as running:
            course = _course(bench, server, running, seconds)
            wait_for("all that was sent is over", lambda: _left(server) <= _NEVER_DONE, _PATIENCE_S)
    return _report(bench, course, seconds, others)


def _course(bench: Bench, server: Server, running: Running, seconds: float) -> Course:
    """Ten steps a second, none made up for: a step that comes late moves all that follow."""
    course, told, first = Course(), 0.0, list[int]()
    while course.seconds < seconds:
        step = time.monotonic()
        course.sent += _send(course.sent)
        if not course.readings or course.seconds > course.readings[-1].at + _LOOK_S:
            running.check_failed()
            if course.seconds > _START_S:
                first = first or sorted(running.children())
                if sorted(running.children()) != first:  # a new one would hide what the old one had grown to
                    raise MeasurementFailed(f"a child was replaced: {running.tail()}")
            course.readings.append(_read(course, server, running))
        if course.seconds > told + 60:
            told, last = course.seconds, course.readings[-1]
            sizes = ", ".join(f"{name} {getattr(last, name):.1f}" for name in NAMES)
            bench.say(
                f"lasting, {told:.0f} s: {course.sent:,} sent, {_left(server):,} left; {sizes} MiB, {last.keys} keys"
            )
        time.sleep(max(step + _STEP_S - time.monotonic(), 0))
    return course


def _send(number_: int) -> int:
    """What one step sends."""
    step = number_ // _STEP
    text = _TEXTS[step % len(_TEXTS)]
    calls = [(number_ + at, _TEXTS[at % 3]) for at in range(_PLAIN)]
    load.kept.enqueue_many(calls)
    load.awaited.enqueue_many(calls)
    load.streamed.enqueue_many(calls)
    load.failing.enqueue_many([(number_ + at,) for at in range(_FAILING)])
    load.failing_too.enqueue_many([(number_ + at,) for at in range(_FAILING)])
    load.kept.options(delay=2.0).enqueue(number_, text)
    load.awaited.options(unique=f"key-{step % _UNIQUES}", priority=2).enqueue(number_, text)
    load.ticks.publish_many([Event(number_ + at, key=f"key-{at}") for at in range(_PLAIN)])
    return _STEP


def _left(server: Server) -> int:
    inspector = Inspector(server.link, load.app.namespace)
    return sum(one.ready + one.delayed + one.leased for one in map(inspector.queue, (load.LISTED, load.STREAMED)))


def _read(course: Course, server: Server, running: Running) -> Reading:
    supervisor = sum(pss_mib(pid) for pid in running.pids)
    children = sum(pss_mib(pid) for pid in running.children())
    return Reading(course.seconds, supervisor, children, server.memory() / 2**20, server.execute("DBSIZE"))


def _report(bench: Bench, course: Course, seconds: float, others: Load) -> Report:
    """Medians of the readings after the start and of the last; with `--quick` there is hardly a time between them."""
    warm, end = bench.size(WARM_S, 10), bench.size(END_S, 10)
    first, last = course.span(warm, warm + end), course.span(seconds - end, seconds)
    hours = (seconds - end - warm) / 3_600
    report = Report(data={"readings": [asdict(one) for one in course.readings], "sent": course.sent, **others.others()})
    for name in NAMES:
        before, after = (spread([getattr(one, name) for one in part]) for part in (first, last))
        grown = (after.middle - before.middle) / hours
        what = f"{name}: MiB after {warm} s and after {seconds:g} s of {course.sent / seconds:,.0f} a second"
        report.add(Row("lasting", what, f"{before.show(1)}, {after.show(1)}", beside=f"{number(grown, 1)} MiB an hour"))
    keys = (spread([float(one.keys) for one in part]).show(0) for part in (first, last))
    report.add(Row("lasting", "  keys of the server at both times", ", ".join(keys)))
    return report
