"""The live tail of a log: a Redis stream with the newest bytes, bounded in size and time.

Bytes are published to Redis after they are stored in Postgres, and readers do not rely on Redis. A reader takes the
history of a log from Postgres up to an offset and continues with live entries from there. If an entry begins after that
offset, bytes between them are missing in Redis (lost, trimmed or never published), and the reader goes back to
Postgres. So a failure of Redis costs time and no bytes.

The ID of an entry is the offset of the entry's end in the stream `all`. A reader therefore computes from Postgres alone
the ID to listen from, even after Redis has lost everything, and Redis keeps the last n bytes by dropping all IDs below
a number.
"""
