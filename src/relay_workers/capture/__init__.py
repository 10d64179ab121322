"""Capture: copies the output of processes from raw files on the node into the log in Postgres."""
