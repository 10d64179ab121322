"""The live tail: log bytes in a bounded, expiring Redis stream, published after they are in Postgres.

Redis is never believed. A reader takes history from Postgres up to N, then live entries from N; an entry that begins
behind where the reader is (Redis lost, trimmed or never had something) sends it back to Postgres. So the worst that a
Redis failure costs is time.

The id of an entry is the offset of its end in the stream `all`. So it follows from Postgres alone where to listen from,
also after Redis has lost everything, and "the last n bytes" is a number to trim by.
"""

from relay_core.live_log.follower import LiveLog
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.logs.log_store import Piece

__all__ = ["LiveLog", "LiveLogPublisher", "Piece"]
