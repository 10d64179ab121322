"""Publish live tails of logs to Redis from a separate thread, so that the callers never wait for Redis."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from relay_core.domain.logs.append import StoredAppend
from relay_core.live_log.redis_entries import Entry, entries, id_after, key
from relay_core.retry import Backoff
from relay_core.settings import Settings

log = structlog.get_logger(__name__)

QUEUE_BYTES = 8 << 20
"""Most bytes that wait for Redis; further bytes are not published, and readers find them in Postgres."""
TIMEOUT_SECONDS = 1.0
"""Time-out for connecting to Redis, and for each of its answers."""
BACKOFF = Backoff(first_seconds=0.25, last_seconds=5.0)


class _Post(NamedTuple):
    execution_id: UUID
    entries: Sequence[Entry]
    """Entries to publish; an empty sequence publishes the end of the log."""
    size: int
    """Log bytes in the entries."""


class LiveLogPublisher:
    """Publishes log chunks that Postgres has stored. All methods except `close` return at once, and none raises.

    The thread that sends starts with the first chunk.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = redis.Redis.from_url(
            settings.redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._ttl = settings.live_log_ttl_seconds
        self._keep = settings.live_log_max_bytes
        self._changed = threading.Condition()
        self._posts: deque[_Post] = deque()
        self._waiting = 0
        self._stopped = False
        self._away_until = 0.0
        self._pauses = BACKOFF.pauses()
        self._thread: threading.Thread | None = None

    def publish(self, stored: Sequence[StoredAppend]) -> None:
        """Queue chunks that Postgres has stored for publication.

        They are dropped while Redis is away or when `QUEUE_BYTES` are waiting; readers then take them from Postgres.
        """
        by_execution: dict[UUID, list[StoredAppend]] = {}
        for chunk in stored:
            by_execution.setdefault(chunk.append.execution_id, []).append(chunk)
        for execution_id, mine in by_execution.items():
            made = entries(mine)
            self._post(_Post(execution_id, made, sum(len(entry.data) for entry in made)))

    def end(self, execution_id: UUID) -> None:
        """Queue the mark of a log's end, which makes readers check in Postgres whether the log is complete."""
        self._post(_Post(execution_id, (), 0))

    def close(self) -> None:
        """Send the waiting entries if Redis answers within two seconds, then close the connection."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_SECONDS)
        self._redis.close()

    def _post(self, post: _Post) -> None:
        with self._changed:
            if self._stopped or self._waiting + post.size > QUEUE_BYTES or time.monotonic() < self._away_until:
                return
            self._posts.append(post)
            self._waiting += post.size
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="live-log-publisher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _loop(self) -> None:
        while (posts := self._take()) is not None:
            try:
                self._send(posts)
                self._pauses = BACKOFF.pauses()
            except (RedisError, OSError) as error:
                self._leave_alone(error)
            except Exception:  # the thread must survive: the next batch may succeed
                log.exception("the live tail of a batch is lost; readers find it in Postgres")

    def _take(self) -> list[_Post] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._posts or self._stopped)
            posts = list(self._posts)
            self._posts.clear()
            self._waiting = 0
            return posts or None

    def _send(self, posts: Sequence[_Post]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            owners = []
            for post in posts:
                before = len(pipe)
                self._queue(pipe, post)
                owners += [post.execution_id] * (len(pipe) - before)
            answers = pipe.execute(raise_on_error=False)
        for execution_id, answer in zip(owners, answers, strict=True):
            if isinstance(answer, redis.ResponseError) and "equal or smaller" in str(answer):
                # Postgres crashed and lost bytes that it had acknowledged, so new bytes get offsets that Redis has.
                self._redis.delete(key(execution_id))
            elif isinstance(answer, Exception):
                raise answer

    def _queue(self, pipe: Any, post: _Post) -> None:
        name = key(post.execution_id)
        for entry in post.entries:
            oldest = id_after(max(0, entry.all_offset + len(entry.data) - self._keep))
            pipe.xadd(name, entry.fields, id=entry.entry_id, minid=oldest, approximate=True)
        if not post.entries:
            pipe.xadd(name, {"end": b"1"})  # Redis makes its id from the time, which is greater than any offset
        pipe.expire(name, self._ttl)

    def _leave_alone(self, error: Exception) -> None:
        """Drop the waiting entries and publish nothing for a backoff pause.

        Otherwise a Redis that hangs would cost a time-out for each batch.
        """
        log.warning("the live tail is away; readers use Postgres", error=str(error))
        with self._changed:
            self._away_until = time.monotonic() + next(self._pauses)
            self._posts.clear()
            self._waiting = 0
