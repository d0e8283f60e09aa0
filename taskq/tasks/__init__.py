"""Tasks over queues: the broker's eight verbs, the app and what a caller holds in his hands."""
