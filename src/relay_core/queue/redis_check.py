"""Whether Redis is of use: one that answers and refuses writes carries no message.

It does so when it is full, when it is a replica, and when it cannot save to its disk.
"""

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from relay_core.queue.celery_app import KEY_PREFIX

KEY = f"{KEY_PREFIX}write-check"
SECONDS = 60
NO_ANSWER = "no answer"
REFUSES = "refuses writes"


def why_unfit(client: Redis) -> str | None:
    """Why no message can be written, or None; `NO_ANSWER`, or `REFUSES` with Redis' own words behind it."""
    try:
        client.set(KEY, "", ex=SECONDS)
    except ResponseError as error:
        return f"{REFUSES}: {error}"
    except (RedisError, OSError):
        return NO_ANSWER
    return None
