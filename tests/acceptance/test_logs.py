"""No log byte lost or doubled, whatever is written and however it is read."""

import base64
import hashlib
import json
import random

import httpx
import pytest

from tests.support.relay import Relay

pytestmark = pytest.mark.docker

FLOOD = """python3 - <<'END'
import hashlib, os, random, threading
def write(fd, seed):
    source = random.Random(seed)
    left = 32 << 20
    while left:
        size = min(left, source.choice((1, 7, 4096, 65536, 1 << 18)))
        data = memoryview(source.randbytes(size))
        while data:
            data = data[os.write(fd, data):]
        left -= size
threads = [threading.Thread(target=write, args=(fd, fd)) for fd in (1, 2)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
END"""
HALF = 32 << 20


def expected(seed: int) -> "hashlib._Hash":
    source, left, digest = random.Random(seed), HALF, hashlib.sha256()
    while left:
        size = min(left, source.choice((1, 7, 4096, 65536, 1 << 18)))
        digest.update(source.randbytes(size))
        left -= size
    return digest


def agent_of(relay, run, seconds=120):
    steps = relay.wait_chain(run, seconds)
    return next(step for step in steps if step["run_reason"] == "coding_agent")


def follow(relay, execution_id, stream, drops):
    """The bytes of a followed log, with the connection dropped ``drops`` times and taken up again."""
    digest, last, size, left = hashlib.sha256(), None, 0, drops
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        path = f"/v1/executions/{execution_id}/logs/stream"
        seen = 0
        with relay.http.stream("GET", path, params={"stream": stream}, headers=headers, timeout=60) as answer:
            assert answer.status_code == 200
            kind = None
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    last = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = json.loads(value)
                    if kind == "end":
                        return digest.hexdigest(), size, data
                    piece = base64.b64decode(data["b64"])
                    assert data["offset"] == size, "each piece begins where the one before ended"
                    digest.update(piece)
                    size += len(piece)
                    seen += len(piece)
                elif not line:
                    kind = None
                    if left and seen >= 2 << 20:
                        left -= 1
                        break


def test_64_mib_on_both_streams_by_every_way_of_reading(relay: Relay, repo):
    run = relay.submit(repo, FLOOD)
    step = relay.wait_step(run, "coding_agent", {"running", "completed"})
    live, size, end = follow(relay, step["id"], "stdout", drops=10)
    step = agent_of(relay, run)
    assert step["status"] == "completed"
    assert end["status"] == "completed"
    for stream, seed in (("stdout", 1), ("stderr", 2)):
        digest = expected(seed).hexdigest()
        assert step["logs"][stream] == {**step["logs"][stream], "bytes": HALF, "sha256": digest, "truncated": False}
        assert hashlib.sha256(relay.log(step["id"], stream)).hexdigest() == digest
    assert (live, size) == (step["logs"]["stdout"]["sha256"], HALF)
    whole = relay.log(step["id"], "all")
    assert (len(whole), hashlib.sha256(whole).hexdigest()) == (2 * HALF, step["logs"]["all"]["sha256"])
    assert follow(relay, step["id"], "all", drops=3)[0] == step["logs"]["all"]["sha256"]
    pieces, at = [], 0
    while at < len(whole):
        end_at = min(at + 5_000_011, len(whole)) - 1
        path = f"/v1/executions/{step['id']}/logs"
        answer = relay.http.get(path, params={"stream": "all"}, headers={"Range": f"bytes={at}-{end_at}"})
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {at}-{end_at}/{len(whole)}"
        pieces.append(answer.content)
        at = end_at + 1
    assert b"".join(pieces) == whole


def test_100_mb_without_a_newline(relay: Relay, repo):
    step = agent_of(relay, relay.submit(repo, "head -c 100000000 /dev/zero | tr '\\0' x"))
    assert step["status"] == "completed"
    assert step["logs"]["stdout"]["bytes"] == 100_000_000
    assert step["logs"]["stdout"]["sha256"] == hashlib.sha256(b"x" * 100_000_000).hexdigest()


def test_reopening_the_streams_loses_nothing(relay: Relay, repo):
    command = (
        "echo a; echo b >&2; echo c >/dev/stderr; echo d >/dev/stdout; echo e | tee /dev/stderr; echo f >&2; echo g"
    )
    step = agent_of(relay, relay.submit(repo, command))
    assert relay.log(step["id"], "stdout") == b"a\nd\ne\ng\n"
    assert relay.log(step["id"], "stderr") == b"b\nc\ne\nf\n"


def test_bytes_stay_bytes_and_text_is_only_a_view(relay: Relay, repo):
    step = agent_of(relay, relay.submit(repo, r"printf '\303'; sleep 0.3; printf '\244\377\376 ok'"))
    assert relay.log(step["id"], "stdout") == b"\xc3\xa4\xff\xfe ok"
    path = f"/v1/executions/{step['id']}/logs/stream"
    text = ""
    with relay.http.stream("GET", path, params={"stream": "stdout", "view": "utf8"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and '"text"' in line:
                text += json.loads(line[6:])["text"]
    assert text == "ä\ufffd\ufffd ok"


def test_a_secret_in_two_writes_is_masked_in_place(relay: Relay, repo):
    command = 'printf "x${KEY%????}"; sleep 0.4; printf "${KEY#????????}y"'
    step = agent_of(relay, relay.submit(repo, command, env={"KEY": "abcdefgh1234"}))
    assert relay.log(step["id"], "stdout") == b"x************y"


def test_a_background_child_that_holds_the_log(relay: Relay, repo):
    run = relay.submit(repo, "(sleep 300; echo never) & echo done")
    step = agent_of(relay, run)
    assert step["status"] == "completed"
    assert relay.log(step["id"], "stdout") == b"done\n"
    events = relay.get(f"/v1/executions/{step['id']}/events")["items"]
    assert [event["kind"] for event in events][-2:] == ["execution.leftovers_ended", "execution.completed"]
    assert (events[-2]["payload"]["count"], set(events[-2]["payload"]["names"])) == (2, {"sh", "sleep"})
    assert "sleep 300" not in relay.processes_in(run)


@pytest.mark.proves("T002-08")
def test_a_log_stream_that_ends_says_nothing_of_the_run(relay: Relay, repo):
    """T002-08: a client that loses its stream finds the run still running."""
    run = relay.submit(repo, "echo one; sleep 30")
    step = relay.wait_step(run, "coding_agent", {"running"})
    path = f"/v1/executions/{step['id']}/logs/stream"
    with httpx.Client(base_url=relay.http.base_url, headers=relay.http.headers) as other, other.stream("GET", path):
        pass
    assert relay.get(f"/v1/executions/{step['id']}")["status"] == "running"
    relay.kill(step["id"])
    relay.wait_step(run, "coding_agent", {"killed"})
