"""Relay's rules as values and pure functions: they do no input or output and know no database or container engine."""
