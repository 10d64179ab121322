"""The truth: tables, guarded writes and queries on Postgres."""
