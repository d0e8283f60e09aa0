"""The runtime of taskq: the `taskq` command, the supervisor and its child processes. `taskq` never imports it."""
