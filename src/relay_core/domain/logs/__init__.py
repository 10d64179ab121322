"""Decisions about log bytes: which may be appended, and which must be masked."""
