"""The tables of Relay in Postgres, and their migrations."""
