"""The names of all metrics that taskq serves to Prometheus, with their labels and what they count.

Seconds and bytes, never their parts; what only grows ends in `_total`; no label holds an id. `NAMESPACE` are of the
whole namespace, and come from one exporter at a time (`taskq.exporter`); `PROCESS` are of the process that was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is announced; the name of a counter has its `_total`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


MESSAGES_ENQUEUED = Metric(
    "taskq_messages_enqueued_total",
    "counter",
    "Messages that were accepted, follow-ups and scheduled ones too.",
    ("queue",),
)
MESSAGES_ENDED = Metric(
    "taskq_messages_ended_total",
    "counter",
    "Messages that came to an outcome: done, dead, cancelled or expired. A dead letter that is retried counts again.",
    ("queue", "outcome"),
)
ATTEMPTS = Metric(
    "taskq_attempts_total",
    "counter",
    "What came of messages in workers: done, retried, dead, cancelled or expired. The last two may not have started.",
    ("queue", "task", "outcome"),
)
ATTEMPTS_FAILED = Metric(
    "taskq_attempts_failed_total", "counter", "Attempts that ended in an error or a time-out.", ("queue", "task")
)
ATTEMPTS_CRASHED = Metric(
    "taskq_attempts_crashed_total",
    "counter",
    "Attempts whose process died, or was ended at its hard limit.",
    ("queue",),
)
MESSAGES_RECLAIMED = Metric(
    "taskq_messages_reclaimed_total",
    "counter",
    "Messages that were given back for a worker or a child that died, fell silent or kept them waiting.",
    ("queue",),
)
DEAD_DROPPED = Metric(
    "taskq_dead_letters_dropped_total",
    "counter",
    "Dead letters that were removed because they were too old or too many.",
    ("queue",),
)
RUN_SECONDS = Metric(
    "taskq_message_run_seconds",
    "histogram",
    "How long attempts took; the sum is estimated from the buckets.",
    ("queue", "task"),
)
WAIT_SECONDS = Metric(
    "taskq_message_wait_seconds",
    "histogram",
    "From creation to the first attempt, a delay included; the sum is estimated from the buckets.",
    ("queue", "task"),
)
QUEUE_MESSAGES = Metric(
    "taskq_queue_messages",
    "gauge",
    "Messages by state: ready, running, delayed, retrying, parked, dead or quarantined; each is in one of them.",
    ("queue", "state"),
)
QUEUE_OLDEST_AGE = Metric(
    "taskq_queue_oldest_age_seconds",
    "gauge",
    "Age of the oldest message that waits to be fetched, since it was created; 0 if none does.",
    ("queue",),
)
QUEUE_PAUSED = Metric("taskq_queue_paused", "gauge", "1 while the queue is paused.", ("queue",))
QUEUE_TRUNCATED = Metric(
    "taskq_queue_truncated",
    "gauge",
    "1 if a figure of the queue is too low, since there is more than one look counts.",
    ("queue",),
)
STREAM_ENTRIES = Metric(
    "taskq_stream_entries",
    "gauge",
    "Entries in the stream of a stream queue: unread, pending or history.",
    ("queue", "state"),
)
WORKERS = Metric(
    "taskq_workers",
    "gauge",
    "Workers by what they said last: starting, running, quiet or draining. Silent ones have said nothing for 10 s.",
    ("state",),
)
SLOTS = Metric("taskq_slots", "gauge", "Slots of all workers that are there: busy or free.", ("state",))
SCHEDULES = Metric(
    "taskq_schedules", "gauge", "Schedules by state: active, paused, orphaned, ended or unreadable.", ("state",)
)
SCHEDULE_DELAY = Metric(
    "taskq_schedule_delay_seconds", "gauge", "How late the active schedule is that is furthest behind its next slot."
)
TOPIC_RECORDS = Metric("taskq_topic_records_total", "counter", "Records that were published.", ("topic",))
TOPIC_BYTES = Metric("taskq_topic_bytes_total", "counter", "Bytes of their keys and values.", ("topic",))
TOPIC_RETAINED = Metric(
    "taskq_topic_retained_records", "gauge", "Records that retention left there, before compaction.", ("topic",)
)
TOPIC_RETAINED_BYTES = Metric(
    "taskq_topic_retained_bytes", "gauge", "Bytes of the keys and values of these.", ("topic",)
)
GROUP_LAG = Metric("taskq_group_lag_records", "gauge", "Records that the group is not done with.", ("topic", "group"))
GROUP_LAG_BYTES = Metric(
    "taskq_group_lag_bytes",
    "gauge",
    "Bytes of keys and values of these; of a shared group only of those that nobody has read.",
    ("topic", "group"),
)
GROUP_LAG_SECONDS = Metric(
    "taskq_group_lag_seconds", "gauge", "Age of the oldest record that the group is not done with.", ("topic", "group")
)
GROUP_RECORDS = Metric(
    "taskq_group_records_total",
    "counter",
    "Records that the group was done with: handled, rejected by a filter, parked or dead.",
    ("topic", "group"),
)
GROUP_RETRIED = Metric(
    "taskq_group_retries_total", "counter", "Records that failed and were to be handled again.", ("topic", "group")
)
GROUP_BURIED = Metric(
    "taskq_group_records_dead_total", "counter", "Records that became dead letters.", ("topic", "group")
)
GROUP_LOST = Metric(
    "taskq_group_records_lost_total",
    "counter",
    "Records that left the log before the group was there, and times that a log was shorter than the position.",
    ("topic", "group"),
)
GROUP_DEAD = Metric("taskq_group_dead_letters", "gauge", "Dead letters that are there.", ("topic", "group"))
GROUP_WAITING = Metric(
    "taskq_group_waiting",
    "gauge",
    "What waits for another try: parked keys of an ordered group, records of a shared one.",
    ("topic", "group"),
)
GROUP_MEMBERS = Metric("taskq_group_members", "gauge", "Members or consumers that are there.", ("topic", "group"))
GROUP_EPOCH = Metric(
    "taskq_group_rebalances_total",
    "counter",
    "Times that partitions were given out anew; of a shared group, that it was made or moved.",
    ("topic", "group"),
)
BROKER_MEMORY = Metric("taskq_broker_memory_bytes", "gauge", "Memory that the broker uses.")
BROKER_MEMORY_LIMIT = Metric(
    "taskq_broker_memory_limit_bytes", "gauge", "Memory that the broker may use; 0 is no limit."
)
BROKER_CLIENTS = Metric("taskq_broker_clients", "gauge", "Connections to the broker.")
BROKER_UP = Metric("taskq_broker_up", "gauge", "1 if the broker answered this process at its last look.")

EXPORTER_ELECTED = Metric(
    "taskq_exporter_elected", "gauge", "1 in the process that serves the figures of the whole namespace."
)
EXPORTER_MISSING = Metric(
    "taskq_exporter_missing_parts",
    "gauge",
    "Queues, schedules and other parts that this process could not read, or read in full, at its last look.",
)
EXPORTER_LOOK_SECONDS = Metric("taskq_exporter_look_seconds", "gauge", "How long the last look of this process took.")
WORKER_CHILDREN = Metric(
    "taskq_worker_children",
    "gauge",
    "Children of this worker: starting, running, quiet, draining or done.",
    ("state",),
)
WORKER_SLOTS = Metric("taskq_worker_slots", "gauge", "Slots of this worker: busy or free.", ("state",))
WORKER_ATTEMPTS = Metric(
    "taskq_worker_attempts_total",
    "counter",
    "Attempts of this worker: done, retried or dead. Its children tell once a second.",
    ("outcome",),
)
WORKER_LOST = Metric(
    "taskq_worker_outcomes_lost_total",
    "counter",
    "Outcomes of this worker that were refused, because the lease was gone.",
)
WORKER_RECORDS = Metric(
    "taskq_worker_records_total",
    "counter",
    "Records for which this worker called a handler: handled, or failed (of a batch that failed one).",
    ("outcome",),
)
WORKER_HANDLE_SECONDS = Metric(
    "taskq_worker_record_handle_seconds",
    "histogram",
    "How long calls of handlers of records took in this worker; the sum is estimated from the buckets.",
)
WORKER_COMMIT_SECONDS = Metric(
    "taskq_worker_record_commit_seconds",
    "histogram",
    "How long the broker took to store the progress of groups; the sum is estimated from the buckets.",
)
WORKER_COMMITS_REFUSED = Metric(
    "taskq_worker_record_commits_refused_total",
    "counter",
    "Progress of this worker that was refused: others had the partition, or the record of a shared group, by then.",
)
WORKER_READY = Metric("taskq_worker_ready", "gauge", "1 while /readyz of this worker says yes.")

NAMESPACE: Final = (
    *(MESSAGES_ENQUEUED, MESSAGES_ENDED, MESSAGES_RECLAIMED, DEAD_DROPPED),
    *(ATTEMPTS, ATTEMPTS_FAILED, ATTEMPTS_CRASHED, RUN_SECONDS, WAIT_SECONDS),
    *(QUEUE_MESSAGES, QUEUE_OLDEST_AGE, QUEUE_PAUSED, QUEUE_TRUNCATED, STREAM_ENTRIES),
    *(WORKERS, SLOTS, SCHEDULES, SCHEDULE_DELAY, BROKER_MEMORY, BROKER_MEMORY_LIMIT, BROKER_CLIENTS),
    *(TOPIC_RECORDS, TOPIC_BYTES, TOPIC_RETAINED, TOPIC_RETAINED_BYTES),
    *(GROUP_LAG, GROUP_LAG_BYTES, GROUP_LAG_SECONDS, GROUP_RECORDS, GROUP_RETRIED, GROUP_BURIED, GROUP_LOST),
    *(GROUP_DEAD, GROUP_WAITING, GROUP_MEMBERS, GROUP_EPOCH),
)
"""Of the whole namespace: only the exporter that is elected serves them."""

PROCESS: Final = (
    *(BROKER_UP, EXPORTER_ELECTED, EXPORTER_MISSING, EXPORTER_LOOK_SECONDS),
    *(WORKER_CHILDREN, WORKER_SLOTS, WORKER_ATTEMPTS, WORKER_LOST),
    *(WORKER_RECORDS, WORKER_HANDLE_SECONDS, WORKER_COMMIT_SECONDS, WORKER_COMMITS_REFUSED, WORKER_READY),
)
"""Of the process that was asked: each serves its own."""

ALL: Final = (*NAMESPACE, *PROCESS)
