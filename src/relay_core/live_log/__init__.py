"""The live tail of a log: its newest bytes in a Redis stream, bounded and expiring, published once Postgres has them.

Readers do not rely on Redis. A reader takes the history of a log from Postgres up to an offset and goes on with live
entries from there; an entry that begins behind that offset (Redis lost it, trimmed it or never had it) sends the reader
back to Postgres. So a failure of Redis costs time and no bytes.

The ID of an entry is the offset of its end in the stream `all`. So Postgres alone tells from which ID to listen, also
after Redis has lost everything, and to keep the last n bytes is to trim by a number.
"""
