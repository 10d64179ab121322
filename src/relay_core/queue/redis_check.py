"""Check whether Redis accepts writes, which it needs to do to carry messages.

Redis still answers but refuses writes when it is full, when it is a replica, and when it cannot save to its disk.
"""

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from relay_core.queue.celery_app import KEY_PREFIX

KEY = f"{KEY_PREFIX}write-check"
SECONDS = 60
NO_ANSWER = "no answer"
REFUSES = "refuses writes"


def why_unfit(client: Redis) -> str | None:
    """Write a key and return why Redis cannot carry messages: `NO_ANSWER`, or `REFUSES` and the error of Redis.

    None if Redis accepts the write.
    """
    try:
        client.set(KEY, "", ex=SECONDS)
    except ResponseError as error:
        return f"{REFUSES}: {error}"
    except (RedisError, OSError):
        return NO_ANSWER
    return None
