"""The live tail of a log: bounded, expiring, in Redis; Postgres has every byte first."""
