"""The Kafka host: one core a partition of its inbox, the same cores that the embedded host runs."""
