"""Training: one run from its settings to its scores, and the processes that only train."""
