"""The one Celery app that workers, API and Flower share; every setting has its reason in docs/adr/0003-celery.md.

A Celery message only informs a worker that an execution is waiting: it carries an execution id and an attempt. A
message may be lost, duplicated, late or out of order without harm, because a worker claims the execution by one
conditional UPDATE in Postgres.
"""

from celery import Celery
from kombu import Exchange, Queue

from relay_core.domain.message import node_queue, pool_queue
from relay_core.settings import Settings, get_settings

KEY_PREFIX = "relay:"
"""Prefix of all keys that Celery uses in Redis. Without it, another Celery app in the same Redis with a shorter
visibility time-out would requeue Relay's messages."""

VISIBILITY_TIMEOUT_SECONDS = 3600
"""Seconds after which a message that a worker reserved and did not acknowledge is delivered to another worker."""


class RelayCelery(Celery):
    """Celery that records no parent tasks: a message sent while a task runs does not name that task as its parent."""

    current_worker_task = None


def declare(name: str) -> Queue:
    """Return the queue with this name, bound to a direct exchange of the same name."""
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


def make_app(settings: Settings, node_id: str | None = None) -> Celery:
    """Return the Celery app for a process.

    Args:
        settings: the settings of this process.
        node_id: the node of a worker, which serves the node's queue before the queue of the pool (the group of nodes
            that share work). None for API and Flower.
    """
    app = RelayCelery("relay", broker=broker_url(settings.redis_url))
    names = [node_queue(node_id)] if node_id else []
    app.conf.update(
        task_queues=[declare(name) for name in (*names, pool_queue(settings.pool))],
        task_default_queue=pool_queue(settings.pool),
        task_create_missing_queues=False,
        # reserve one message per free slot, acknowledge it before the task runs, store no result: Postgres has all
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        # an outage of the broker must not disturb running executions
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # retry forever; 0 would mean no retry with this kombu (tests/faults)
        broker_channel_error_retry=True,  # also wait for a broker that answers but refuses writes
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2},
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",
            "socket_timeout": 15,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
            "retry_on_timeout": True,
        },
        # events that Flower shows
        worker_send_task_events=True,
        task_send_sent_event=True,
        # a worker that is told to stop leaves its containers running and exits within seconds
        worker_soft_shutdown_timeout=10,
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        timezone="UTC",
        enable_utc=True,
    )
    return app


def broker_url(redis_url: str) -> str:
    """Return a Redis URL in Kombu's form: ``unix:///path?db=0`` becomes ``redis+socket:///path?virtual_host=0``."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://").replace("?db=", "?virtual_host=")
    return redis_url


def __getattr__(name: str) -> Celery:
    """Create ``app`` when it is first used (``celery -A relay_core.queue.celery_app``): imports read no environment."""
    if name == "app":
        return _shared()
    raise AttributeError(name)


def _shared() -> Celery:
    app = globals().setdefault("_app", None) or make_app(get_settings())
    globals()["_app"] = app
    return app
