"""Measure a step with much output: ``python -m bench.volume [--mib 1024]``.

A step in a container writes binary data to stdout and stderr, half of it to each, through relay-pid1, the worker and
Postgres. The bench then downloads both streams from the API and compares their SHA-256 with that of the same data, made
here. It prints the time, the largest growth of the worker's memory, and exits with 1 if a byte differs or the growth is
over 64 MiB.
"""

import argparse
import hashlib
import random
import sys
import threading
import time
from collections.abc import Iterator

import psutil
from bench.stack import running
from tests.support.relay import FINAL, Relay, make_repo

MIB = 1 << 20
MOST_GROWTH = 64 * MIB
SEED = 16
LOOK_SECONDS = 0.05
WRITER = f"""#!/usr/bin/env python3
import os, random
block = random.Random({SEED}).randbytes({MIB} - 8)
for number in range(BLOCKS):
    for stream in (1, 2):
        left = memoryview(number.to_bytes(8, "big") + block)
        while left:
            left = left[os.write(stream, left):]
"""


class Growth(threading.Thread):
    """Follows the memory of a process until `stop`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        """Look until `stop`."""
        while not self._over.wait(LOOK_SECONDS):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)

    def stop(self) -> int:
        """Return the largest growth in bytes."""
        self._over.set()
        self.join()
        return self.bytes


def main() -> int:
    """Measure, print and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.volume", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of both streams together")
    blocks = parser.parse_args().mib // 2
    most = 4 * blocks * MIB
    with running("volume", {"RELAY_MAX_LOG_BYTES": str(most)}) as relay:
        repo = make_repo(relay.root / "repo", {"README.md": "# sample\n"})
        run = relay.submit(repo, limits={"log_bytes": most})
        relay.wait_chain(run)
        growth = Growth(relay.processes["worker"].pid)
        growth.start()
        began = time.perf_counter()
        body = {"run_reason": "setup_script", "script": WRITER.replace("BLOCKS", str(blocks))}
        step = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
        relay.until(lambda: relay.get(f"/v1/executions/{step}")["status"] in FINAL, 600)
        seconds, grown = time.perf_counter() - began, growth.stop()
        expected = hashed(data(blocks))
        execution = relay.get(f"/v1/executions/{step}")
        wrong = [name for name in ("stdout", "stderr") if downloaded(relay, step, name) != expected]
        wrong += [name for name in ("stdout", "stderr") if execution["logs"][name]["sha256"] != expected]
    print(f"{2 * blocks} MiB on both streams: {seconds:.1f} s, {2 * blocks / seconds:.0f} MiB/s")
    print(f"largest growth of the worker's memory: {grown / MIB:.0f} MiB")
    print(f"sums of both streams equal: {'no: ' + ', '.join(wrong) if wrong else 'yes'}; {execution['status']}")
    return 1 if wrong or grown > MOST_GROWTH or execution["status"] != "completed" else 0


def data(blocks: int) -> Iterator[bytes]:
    """Yield what the step writes to one stream."""
    block = random.Random(SEED).randbytes(MIB - 8)
    for number in range(blocks):
        yield number.to_bytes(8, "big") + block


def downloaded(relay: Relay, execution_id: str, stream: str) -> str:
    """Return the SHA-256 of a stored stream, as the API sends it."""
    url = f"/v1/executions/{execution_id}/logs"
    with relay.http.stream("GET", url, params={"stream": stream}, timeout=600) as answer:
        return hashed(answer.iter_raw())


def hashed(pieces: Iterator[bytes]) -> str:
    """Return the SHA-256 of pieces, in hex."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
