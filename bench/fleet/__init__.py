"""The load that a fleet of idle nodes puts on Postgres: ``python -m bench.fleet``."""
