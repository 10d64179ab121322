"""Checks whether Redis takes writes: without writes it carries no messages.

Redis answers and refuses writes when it is full, when it is a replica, and when it cannot save to its disk.
"""

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from relay_core.queue.celery_app import KEY_PREFIX

KEY = f"{KEY_PREFIX}write-check"
SECONDS = 60
NO_ANSWER = "no answer"
REFUSES = "refuses writes"


def why_unfit(client: Redis) -> str | None:
    """Why Redis takes no messages: `NO_ANSWER`, or `REFUSES` and the message of Redis. None where it takes them."""
    try:
        client.set(KEY, "", ex=SECONDS)
    except ResponseError as error:
        return f"{REFUSES}: {error}"
    except (RedisError, OSError):
        return NO_ANSWER
    return None
