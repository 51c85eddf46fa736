"""Algorithm 1 and what a run of hours needs around it."""
