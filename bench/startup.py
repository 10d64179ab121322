"""Measure how long Relay's programs take to start, beside others: ``python -m bench.startup [--repeat N]``.

Each program is started several times, after one start that fills the caches. The table shows the medians of the elapsed
time and of the processor time; the ratios of the latter hardly depend on what else the machine does.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

RELAY = (sys.executable, "-m", "relay_cli.main")
PROGRAMS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "git --version": ("git", "--version"),
    "relay --version": (*RELAY, "--version"),
    "relay --help": (*RELAY, "--help"),
    "relay ps": (*RELAY, "ps"),
    "imports of python -m relay_api": (
        sys.executable,
        "-c",
        "from relay_core.quick_start import load_program; load_program('relay_api.service:main')",
    ),
    "imports of python -m relay_workers": (
        sys.executable,
        "-c",
        "from relay_core.quick_start import load_program; load_program('relay_workers.service:main')",
    ),
}
"""Name in the table → command line."""


class Cost(NamedTuple):
    """Duration and processor time of one start, in milliseconds."""

    elapsed: float
    processor: float


class EmptyApi(BaseHTTPRequestHandler):
    """An API whose every list is empty."""

    def do_GET(self) -> None:
        """Answer an empty list."""
        body = b'{"items": [], "next_cursor": null}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--repeat", type=int, default=10, help="starts of each program that are measured")
    options = parser.parse_args()
    api = ThreadingHTTPServer(("127.0.0.1", 0), EmptyApi)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    cache = tempfile.mkdtemp(prefix="relay-bench-")
    try:
        variables = environment(f"http://127.0.0.1:{api.server_port}", cache)
        costs = {name: median_cost(command, variables, options.repeat) for name, command in PROGRAMS.items()}
    finally:
        api.shutdown()
        shutil.rmtree(cache)
    least = costs["python -c pass"].processor
    print(f"{'what':<36}{'elapsed':>12}{'processor':>12}{'ratio':>8}")
    for name, cost in costs.items():
        print(f"{name:<36}{cost.elapsed:>9.0f} ms{cost.processor:>9.0f} ms{cost.processor / least:>8.1f}")


def environment(api_url: str, cache: str) -> dict[str, str]:
    """Return the environment of the programs: an API for `relay ps`, and a place for compiled modules."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PYTHON"))}
    return {**own, "RELAY_API_URL": api_url, "RELAY_TOKEN": "none", "PYTHONPYCACHEPREFIX": cache}


def median_cost(command: tuple[str, ...], variables: dict[str, str], repeat: int) -> Cost:
    """Start a program ``repeat`` times, and once before, and return the medians."""
    costs = [start(command, variables) for _ in range(repeat + 1)][1:]
    return Cost(statistics.median(cost.elapsed for cost in costs), statistics.median(cost.processor for cost in costs))


def start(command: tuple[str, ...], variables: dict[str, str]) -> Cost:
    """Start a program, wait for its end, and return its cost."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=variables, check=True, stdout=subprocess.DEVNULL)
    elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(elapsed * 1000, used * 1000)


if __name__ == "__main__":
    main()
