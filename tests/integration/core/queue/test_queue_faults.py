"""Redis is never believed: a real worker stays alive while its Valkey forgets, lies, fills up or goes away."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from relay_core.domain.message import node_queue, pool_queue, task_id
from relay_core.queue.celery_app import KEY_PREFIX, make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.queue.redis_check import why_unfit
from relay_core.settings import Settings
from relay_core.store.executions.messages import Undispatched
from relay_stack.services.valkey import EmbeddedValkey
from relay_workers.celery.intake import Intake, RelayConsumer
from relay_workers.celery.tasks import register
from tests.support.celery_bench import Bench, working
from tests.support.waiting import eventually

NODE = "node-of-this-test"
POOL, OWN = pool_queue("default"), node_queue(NODE)


@pytest.fixture(scope="module")
def valkey(services_dir):
    """One of this module's own, without a disk: what it forgets is gone."""
    server = EmbeddedValkey(services_dir / "forgetful", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(valkey):
    with redis.Redis.from_url(valkey.url) as client:
        yield client


def app_of(valkey) -> Celery:
    return make_app(Settings(redis_url=valkey.url), NODE)


@contextmanager
def worker(valkey, *, pool=True):
    """A worker of the node, and the switch on its queues."""
    app = app_of(valkey)
    bench = Bench(app)
    register(app, bench.run)
    RelayConsumer.intake = Intake({POOL: pool, OWN: True})
    with working(bench):
        eventually(lambda: RelayConsumer.intake.consumes(OWN))
        yield bench, RelayConsumer.intake
    RelayConsumer.intake = Intake({})
    app.close()


@pytest.fixture(scope="class")
def bench(valkey):
    with worker(valkey) as (bench, _):
        yield bench


def test_publishing_leaves_nothing_but_the_message_in_redis(valkey, client):
    client.flushall()
    app = app_of(valkey)
    Bench(app).send(lambda: None, node="elsewhere")
    assert {name.decode() for name in client.keys("*")} == {KEY_PREFIX + node_queue("elsewhere")}
    client.flushall()
    app.close()


def message(*, headers=(), content_type="application/json", encoding="utf-8", body=None, **properties):
    """A message as Celery writes them, with what a test changes."""
    execution_id = str(uuid4())
    if body is None:
        body = [[execution_id, 1], {}, {}]
    whole = {
        "body": body if isinstance(body, str) else json.dumps(body),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": {"task": "relay.setup_script", "id": task_id_of(body), "lang": "py", **dict(headers)},
        "properties": {
            "correlation_id": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": OWN},
            "priority": 0,
            "delivery_tag": str(uuid4()),
            **properties,
        },
    }
    return json.dumps(whole)


def task_id_of(body):
    try:
        return task_id(UUID(body[0][0]), body[0][1])
    except (ValueError, TypeError, IndexError, KeyError, AttributeError):
        return str(uuid4())


def without(name, text):
    whole = json.loads(text)
    del whole[name]
    return json.dumps(whole)


SOME = str(uuid4())
MALFORMED = {
    "nothing": "",
    "no JSON": "{",
    "no UTF-8": b"\xff\xfe",
    "a number": "1",
    "null": "null",
    "a list": "[]",
    "a text": '"text"',
    "an empty mapping": "{}",
    "deep": "[" * 100_000,
    "deep body": message(body="[" * 50_000),
    "no properties": without("properties", message()),
    "no headers": without("headers", message()),
    "no body": without("body", message()),
    "no content type": without("content-type", message()),
    "headers are a list": message()
    .replace('"headers": {', '"headers": [{')
    .replace('}, "properties"', '}], "properties"'),
    "no delivery tag": message(delivery_tag=None),
    "delivery tag is a mapping": message(delivery_tag={}),
    "no delivery info": message(delivery_info={}),
    "delivery info is a text": message(delivery_info="x"),
    "unknown task": message(headers={"task": "relay.nothing"}),
    "task is a list": message(headers={"task": []}),
    "another's task": message(headers={"task": "celery.backend_cleanup"}),
    "no id": message(headers={"id": None}),
    "another's id": message(headers={"id": str(uuid4())}),
    "pickle": message(content_type="application/x-python-serialize"),
    "yaml": message(content_type="application/x-yaml"),
    "unknown encoding": message(encoding="rot99"),
    "unknown body encoding": message(body_encoding="rot99"),
    "compressed": message(headers={"compression": "application/x-gzip"}),
    "body is []": message(body=[]),
    "body is {}": message(body={}),
    "body of protocol 1": message(body={"task": "relay.setup_script", "id": SOME, "args": [SOME, 1], "kwargs": {}}),
    "body is null": message(body="null"),
    "body is no JSON": message(body="{"),
    "no arguments": message(body=[[], {}, {}]),
    "arguments are no list": message(body=["x", {}, {}]),
    "execution is no id": message(body=[["x", 1], {}, {}]),
    "attempt is a text": message(body=[[SOME, "1"], {}, {}]),
    "attempt is huge": message(body=[[SOME, 10**40], {}, {}]),
    "attempt is true": message(body=[[SOME, True], {}, {}]),
    "attempt is 0": message(body=[[SOME, 0], {}, {}]),
    "named arguments": message(body=[[SOME, 1], {"x": 1}, {}]),
    "a callback": message(body=[[SOME, 1], {}, {"callbacks": [{"task": "relay.clone", "args": []}]}]),
    "huge": message(body=[["x" * (32 << 20), 1], {}, {}]),
    "an object of Kombu's": '{"__type__": "decimal", "__value__": "x"}',
}


class TestOneWorkerAllTheTime:
    def test_flushall_under_a_living_worker_loses_no_later_message(self, bench, client):
        assert bench.runs()
        assert bench.runs(NODE)
        client.flushall()
        assert bench.runs()
        assert bench.runs(NODE)

    def test_no_single_key_is_needed(self, bench, client):
        """As an eviction by `allkeys-lru` takes them, one by one."""
        assert bench.runs(NODE)
        for name in client.keys("*"):
            client.delete(name)
            assert bench.runs(NODE), name
            assert bench.runs(), name

    @pytest.mark.parametrize("queue", [OWN, POOL])
    def test_no_malformed_message_stops_a_worker_or_stays(self, bench, client, queue):
        for bad in MALFORMED.values():
            client.lpush(KEY_PREFIX + queue, bad)
        assert bench.runs(NODE if queue == OWN else None, seconds=30), "what comes behind them"
        assert client.llen(KEY_PREFIX + queue) == 0
        eventually(lambda: client.hlen(KEY_PREFIX + "unacked") == 0)
        assert client.zcard(KEY_PREFIX + "unacked_index") == 0

    @pytest.mark.parametrize("kind", MALFORMED)
    def test_each_malformed_message_is_survived_by_itself(self, bench, client, kind):
        client.lpush(KEY_PREFIX + OWN, MALFORMED[kind])
        assert bench.runs(NODE)

    def test_headers_that_would_delay_or_expire_a_run_are_not_heard(self, bench, client):
        ran = threading.Event()
        execution_id = uuid4()
        bench._behaviour[execution_id] = lambda _: ran.set()
        late = {"eta": "2999-01-01T00:00:00", "expires": "1999-01-01T00:00:00", "timelimit": "x", "group": {}}
        client.lpush(KEY_PREFIX + OWN, message(headers=late, body=[[str(execution_id), 1], {}, {}]))
        assert ran.wait(10)

    def test_a_command_that_cannot_be_read_is_dropped(self, bench, client):
        for bad in MALFORMED.values():
            for channel in client.pubsub_channels("*pidbox*"):
                client.publish(channel, bad)
        assert bench.runs(NODE)


REFUSALS = {
    "full": (["maxmemory", "1"], ["maxmemory", "0"]),
    "too few replicas": (["min-replicas-to-write", "1"], ["min-replicas-to-write", "0"]),
}


@contextmanager
def refusing(client, how):
    """Valkey answers and takes no writes."""
    if how == "replica":
        client.replicaof("127.0.0.1", "1")
    else:
        client.config_set(*REFUSALS[how][0])
    try:
        yield
    finally:
        if how == "replica":
            client.replicaof("NO", "ONE")
        else:
            client.config_set(*REFUSALS[how][1])


@pytest.mark.parametrize("how", [*REFUSALS, "replica"])
def test_a_worker_outlives_a_server_that_refuses_writes_which_is_told(valkey, client, how):
    with worker(valkey) as (bench, _):
        assert why_unfit(client) is None
        with refusing(client, how):
            assert why_unfit(client).startswith("refuses writes: ")
            with pytest.raises((OperationalError, redis.RedisError)):
                bench.send(lambda: None)
            time.sleep(2)  # the worker meets it, too
        assert bench.runs(NODE, 40)
    with redis.Redis.from_url("redis://127.0.0.1:1") as nobody:
        assert why_unfit(nobody) == "no answer"


@pytest.mark.parametrize("name", [OWN, "unacked", "unacked_index"])
def test_a_key_of_another_kind_stops_no_queue_for_long(valkey, client, name):
    dispatcher = CeleryDispatcher(app_of(valkey), None)
    with worker(valkey) as (bench, _):
        client.set(KEY_PREFIX + name, "no list")
        eventually(
            lambda: (
                dispatcher.dispatch_again([Undispatched(OWN, 0, [])]) == 0
                and client.type(KEY_PREFIX + name) != b"string"
            )
        )
        assert bench.runs(NODE, 40)


def test_what_lies_unacknowledged_and_cannot_be_read_stops_no_start(valkey, client):
    """Kombu reads it back at each start of a worker."""
    bad = ["", "{", "[]", "null", "[1, 2, 3]", json.dumps([{}, "", OWN]), json.dumps([json.loads(message()), "", OWN])]
    for number, one in enumerate(bad):
        client.hset(KEY_PREFIX + "unacked", f"tag-{number}", one)
        client.zadd(KEY_PREFIX + "unacked_index", {f"tag-{number}": 1})
    client.zadd(KEY_PREFIX + "unacked_index", {"tag-of-nothing": 1})
    with worker(valkey) as (bench, _):
        assert bench.runs(NODE)
        eventually(lambda: client.zcard(KEY_PREFIX + "unacked_index") == 0)


def test_the_queues_are_those_that_are_wanted_after_an_outage(valkey):
    with worker(valkey) as (bench, intake):
        assert intake.consumes(POOL)
        valkey.stop()
        intake.want(POOL, consumed=False)  # the node has filled up
        valkey.start()
        eventually(lambda: intake.consumes(OWN), seconds=40)
        assert bench.runs(NODE, 40)
        assert not intake.consumes(POOL)
        waiting = threading.Event()
        bench.send(waiting.set)
        valkey.stop()
        intake.want(POOL, consumed=True)  # room was made meanwhile; the message is gone with Valkey's memory
        valkey.start()
        eventually(lambda: intake.consumes(POOL), seconds=40)
        assert bench.runs(None, 40)


def test_a_node_that_takes_nothing_new_does_not_from_its_first_moment_on(valkey, client):
    app = app_of(valkey)
    Bench(app).send(lambda: None)
    with worker(valkey, pool=False) as (bench, intake):
        assert bench.runs(NODE)
        assert not intake.consumes(POOL)
        assert client.llen(KEY_PREFIX + POOL) == 1
    app.close()
    client.flushall()


def test_a_queue_that_was_closed_from_outside_is_opened_again(valkey):
    """By Flower's button, or by ``celery control cancel_consumer``."""
    with worker(valkey) as (bench, intake):
        bench.app.control.cancel_consumer(OWN)
        eventually(lambda: not intake.consumes(OWN))
        intake.compare()  # as the clock does
        assert bench.runs(NODE)


BROKEN_WORKER = """
import sys
from types import SimpleNamespace
from celery.worker.consumer import Consumer
from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from relay_workers.bootstrap import Worker

class Broken(Consumer):
    def start(self):
        raise RuntimeError("broken")

settings = Settings(redis_url=sys.argv[1], worker_concurrency=1)
app = make_app(settings, "node")
app.conf.worker_consumer = Broken
sys.exit(Worker(app, SimpleNamespace(worker="w1@node"), SimpleNamespace(settings=settings)).run())
"""


def test_a_worker_that_breaks_says_so_by_its_exit_code(valkey):
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_WORKER, valkey.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr[-2000:]
