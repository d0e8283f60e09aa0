"""Retries and dead letters: what is tried again, how often, and where it ends if nothing helps.

A worker:        taskq dev 03_retries_and_dead_letters:app
The producer:    python 03_retries_and_dead_letters.py
"""

from __future__ import annotations

import taskq
from taskq import Incident, Reject, Retry, RetryPolicy, TaskFailed, TaskQ

app = TaskQ("weather")

# The first run counts as an attempt. Waits: half a second, then one, each jittered down to its half at most.
patient = RetryPolicy(max_attempts=3, base=0.5, never=(PermissionError,))


@app.task(retry=patient)
def flaky(city: str) -> str:
    """Fails twice, then works."""
    attempt = taskq.current().attempt
    if attempt < 3:
        raise ConnectionError(f"the weather service hung up on attempt {attempt}")
    return f"{city}: sunny, after {attempt} attempts"


@app.task(retry=patient)
def busy(city: str) -> str:
    """A 429: come back at the time that the service named, without spending an attempt."""
    if taskq.current().deliveries == 1:
        raise Retry(after=0.3, count_attempt=False, reason="429 Too Many Requests")
    return f"{city}: windy, on attempt {taskq.current().attempt}"


@app.task(retry=patient)
def hopeless(city: str) -> str:
    raise ConnectionError(f"no road to {city}")


@app.task(retry=patient)
def forbidden(city: str) -> str:
    raise PermissionError(f"{city} is not yours to ask for")  # in `never`: not tried again


@app.task(retry=patient)
def wrong(city: str) -> str:
    raise Reject(f"there is no city {city!r}")  # whatever the policy says


@app.on_dead
def tell(incident: Incident) -> None:
    """Runs in the worker; the place for an error tracker."""
    print(f"on_dead: {incident.task} {incident.args}: {incident.failure.message}", flush=True)


if __name__ == "__main__":
    print(flaky.enqueue("Oslo").result(timeout=30))
    print(busy.enqueue("Bergen").result(timeout=30))
    for task in (hopeless, forbidden, wrong):
        handle = task.enqueue("Atlantis")
        try:
            handle.result(timeout=30)
        except TaskFailed as error:
            attempts = len(handle.info().history)
            print(f"{task.name}: {handle.status()} after {attempts} attempts: {error.type}: {error.remote_message}")
