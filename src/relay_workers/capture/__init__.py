"""Capture: from the raw output files of a process to log bytes in Postgres."""
