"""Periodic work of a worker, each part on a clock of its own (`clocks`)."""
