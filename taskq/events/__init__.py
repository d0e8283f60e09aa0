"""Events: topics of partitioned logs, their publishers and their subscriptions."""
