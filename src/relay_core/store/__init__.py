"""The authoritative state of Relay in Postgres: tables, guarded writes and queries."""
