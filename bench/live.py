"""Measure row 4 of the performance table: the time of a log line from its container to an SSE client, in many runs."""

import asyncio
import base64
import json
import time
from pathlib import Path

import httpx
from tests.support.relay import Relay

WRITER = "exec python3 -uc 'import sys, time\nwhile True: sys.stdout.write(f\"{time.time_ns()}\\n\"); time.sleep(0.5)'"
MEASURED_SECONDS = 20.0


def live_latencies(relay: Relay, repo: Path, runs: int) -> list[float]:
    """Start ``runs`` runs that write lines, each with a client; return each line's latency in milliseconds.

    Only lines that were written while all clients were connected are counted.
    """
    made = [relay.submit(repo, WRITER) for _ in range(runs)]
    try:
        writing = [relay.wait_step(run, "coding_agent", {"running"}, 300)["id"] for run in made]
        return asyncio.run(_listen_to_all(relay, writing))
    finally:
        for execution in relay.get("/v1/executions", status="running", limit=200)["items"]:
            relay.kill(execution["id"])
        for run in made:
            relay.wait_chain(run, 120)


async def _listen_to_all(relay: Relay, executions: list[str]) -> list[float]:
    limits = httpx.Limits(max_connections=len(executions))
    async with httpx.AsyncClient(
        base_url=relay.http.base_url, headers=relay.http.headers, timeout=60, limits=limits
    ) as client:
        listening = asyncio.Barrier(len(executions))
        found = await asyncio.gather(*(_listen(client, execution, listening) for execution in executions))
    return [latency for latencies in found for latency in latencies]


async def _listen(client: httpx.AsyncClient, execution: str, listening: asyncio.Barrier) -> list[float]:
    latencies: list[float] = []
    began = 0
    async with client.stream("GET", f"/v1/executions/{execution}/logs/stream") as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if not line.startswith("data:"):
                continue
            now = time.time_ns()
            if not began:  # the first event is history; lines count once all clients listen
                await listening.wait()
                began = time.time_ns()
                continue
            text = base64.b64decode(json.loads(line[5:])["b64"])
            latencies += [(now - int(stamp)) / 1e6 for stamp in text.split() if int(stamp) > began]
            if now > began + MEASURED_SECONDS * 1e9:
                return latencies
    raise RuntimeError(f"the stream of {execution} ended early")
