"""Options of tasks as other task queues name them, and what says the same here: for who comes from there."""

from __future__ import annotations

from typing import Final

FOREIGN: Final = {
    "max_retries": "give retry=, the number of attempts, in which the first run counts",
    "max_attempts": "give retry=RetryPolicy(max_attempts=...)",
    "retries": "give retry=, the number of attempts, in which the first run counts",
    "default_retry_delay": "give retry=RetryPolicy(base=...)",
    "min_backoff": "give retry=RetryPolicy(base=...), in seconds",
    "max_backoff": "give retry=RetryPolicy(cap=...), in seconds",
    "autoretry_for": "give retry=RetryPolicy(on=...)",
    "countdown": "give delay=, in seconds",
    "eta": "give at=, an aware datetime, or delay=, in seconds",
    "bind": "the running task asks taskq.current() for its attempt, its id and so on",
    "task_id": "give id=",
    "job_id": "give id=",
    "queue_name": "give queue=",
    "soft_time_limit": "give timeout=, in seconds",
    "time_limit": "give timeout= or hard_timeout=, in seconds",
    "job_timeout": "give timeout=, in seconds",
    "ignore_result": "give result_ttl=0",
    "result_expires": "give result_ttl=, in seconds",
    "acks_late": "give delivery='at_least_once', which is usual here, or 'at_most_once'",
    "link": "give then=, a call like task.call(1)",
}
