"""Measure short executions: ``python -m bench.short [--workspaces N] [--seconds S] [--profile]``.

In each of some warm workspaces one client posts an execution of ``true``, waits for its terminal event, and posts the
next. The table shows executions per second, and the processor time that each program spends on one. Beside it the same
is measured with a bare loop of the SDK's exec in the same containers, as many at a time.

``--profile`` also prints the functions of the worker that take the most processor time. A profile makes the worker
slower, so the other figures are not valid then.
"""

import argparse
import http.client
import json
import os
import pstats
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import docker
import httpx
import psutil
from bench.profiling import profiled_threads
from bench.stack import running, start_bench_worker
from tests.support.relay import Relay, make_repo

from relay_workers import service

PROFILE = "RELAY_BENCH_PROFILE"
"""Variable of a worker under ``--profile``: path of the file into which it writes the profile when it ends."""
TERMINAL = {"execution.completed", "execution.failed", "execution.killed"}
STEP = json.dumps({"run_reason": "setup_script", "script": "true"})


class Measured(NamedTuple):
    """The result of one loop."""

    per_second: float
    processor: dict[str, float]
    """Program → milliseconds of processor time for one execution."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.short", description=__doc__)
    parser.add_argument("--workspaces", type=int, default=16, help="warm workspaces, with one execution at a time each")
    parser.add_argument("--seconds", type=float, default=20, help="time of each of the two loops")
    parser.add_argument("--profile", action="store_true", help="print where the worker's processor time goes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        with profiled_threads(Path(os.environ[PROFILE])):
            service.main()
        return
    with running("short", worker=not options.profile) as relay:
        profile = relay.root / "profile"
        if options.profile:
            relay.environment[PROFILE] = str(profile)
            start_bench_worker(relay, "bench.short")
        ours, bare = short_executions(relay, options.workspaces, options.seconds)
        print_table(ours, bare)
        if options.profile:
            relay.stop("worker")
            pstats.Stats(str(profile)).strip_dirs().sort_stats("tottime").print_stats(35)
            pstats.Stats(str(profile)).sort_stats("cumulative").print_stats("relay_", 60)


def short_executions(relay: Relay, workspaces: int, seconds: float) -> tuple[Measured, Measured]:
    """Measure executions of ``true`` in warm workspaces, and bare execs in the same containers."""
    repo = make_repo(relay.root / "short-repo", {"README.md": "# sample\n"})
    runs = [relay.submit(repo, limits={"memory_bytes": 64 << 20, "pids": 64}) for _ in range(workspaces)]
    for run in runs:
        relay.wait_chain(run, 300)
    paths = [f"/v1/workspaces/{run['workspace_id']}/executions" for run in runs]
    with terminal_events(relay) as waiting:
        loops = [lambda path=path: one_execution(relay, path, waiting) for path in paths]
        for loop in loops:
            loop()
        ours = repeated(relay, loops, seconds)
    client = docker.from_env(max_pool_size=workspaces)
    containers = [client.containers.get(relay.container(run).id) for run in runs]
    bare = repeated(relay, [lambda one=one: one.exec_run(["true"]) for one in containers], seconds)
    client.close()
    return ours, bare


def repeated(relay: Relay, loops: list[Callable[[], object]], seconds: float) -> Measured:
    """Call each function again and again in a thread of its own, for some time."""
    before = processor_seconds(relay)
    began = time.monotonic()

    def repeat(call: Callable[[], object]) -> int:
        count = 0
        while time.monotonic() < began + seconds:
            call()
            count += 1
        return count

    with ThreadPoolExecutor(len(loops)) as pool:
        done = sum(pool.map(repeat, loops))
    elapsed = time.monotonic() - began
    after = processor_seconds(relay)
    return Measured(done / elapsed, {name: (after[name] - before[name]) * 1000 / done for name in before})


Waiting = dict[str, threading.Event]
_connections = threading.local()


def one_execution(relay: Relay, path: str, waiting: Waiting) -> None:
    """Post an execution and wait for its terminal event."""
    if not hasattr(_connections, "http"):
        _connections.http = http.client.HTTPConnection("127.0.0.1", int(relay.environment["RELAY_API_PORT"]))
    headers = {"Authorization": f"Bearer {relay.token}", "Content-Type": "application/json"}
    _connections.http.request("POST", path, STEP, headers)
    answer = _connections.http.getresponse()
    body = json.loads(answer.read())
    if answer.status != http.client.ACCEPTED:
        raise RuntimeError(body)
    if not waiting.setdefault(body["id"], threading.Event()).wait(60):
        raise RuntimeError(f"execution {body['id']} did not end")
    del waiting[body["id"]]


@contextmanager
def terminal_events(relay: Relay) -> Iterator[Waiting]:
    """Follow the events of all workspaces, and set the event of each execution that has ended."""
    waiting: Waiting = {}
    timeout = httpx.Timeout(30, read=60)
    with relay.http.stream("GET", "/v1/events/stream", params={"after": "now"}, timeout=timeout) as answer:

        def follow() -> None:
            try:
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        note(json.loads(line[5:]), waiting)
            except (httpx.StreamError, httpx.TransportError, OSError):
                return  # the measurement is over

        threading.Thread(target=follow, daemon=True).start()
        yield waiting


def note(event: dict[str, Any], waiting: Waiting) -> None:
    """Set the event of an execution if this is its terminal event."""
    if event["kind"] in TERMINAL:
        waiting.setdefault(event["operation_id"], threading.Event()).set()


def processor_seconds(relay: Relay) -> dict[str, float]:
    """Return the processor time so far of each program that takes part."""
    groups: dict[str, list[psutil.Process]] = {
        name: [psutil.Process(process.pid)] for name, process in relay.processes.items()
    }
    for process in psutil.Process().children():
        if named(process) == "postgres":
            groups["postgres"] = [process]
        elif "valkey" in named(process) or "redis" in named(process):
            groups["redis"] = [process]
    groups["engine"] = [one for one in psutil.process_iter() if named(one) in {"dockerd", "containerd"}]
    return {name: sum(map(used, processes)) for name, processes in groups.items()}


def named(process: psutil.Process) -> str:
    """Return the name of a process; an empty one if it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def used(process: psutil.Process) -> float:
    """Return the seconds of processor time of a process and its descendants, ended ones included."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if one == process:
            total += times.children_user + times.children_system
    return total


def print_table(ours: Measured, bare: Measured) -> None:
    """Print what both loops did."""
    ratio = ours.per_second / bare.per_second
    print(f"short executions per second: {ours.per_second:.1f}, bare exec {bare.per_second:.1f}, ratio {ratio:.2f}")
    print("to reach: >= 1; worker <= 10 ms, api <= 4, postgres <= 4")
    print("processor time of one, in ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in ours.processor.items()))
    print(f"processor time of a bare exec, in ms: engine {bare.processor['engine']:.1f}")


if __name__ == "__main__":
    main()
