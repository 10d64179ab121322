"""Run the chaos bench and print its report; exit with 1 if anything was lost, doubled, stuck or wrong."""

import argparse
import json
import signal
import subprocess
import sys
import time

import bench.chaos as package
from bench.chaos import Chaos, Report, made_world
from bench.chaos.faults import FAULTS


def main() -> int:
    """Run one stack in this process, or several stacks in parallel in separate processes. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=(package.__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="faults, over all stacks")
    parser.add_argument("--runs", type=int, default=4, help="at once, in each stack")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quiet", type=float, default=120.0, help="seconds at most until all runs have ended after half of the faults"
    )
    parser.add_argument(
        "--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="FAULT", help="kinds of faults"
    )
    parser.add_argument("--stacks", type=int, default=1, help="independent stacks beside each other")
    parser.add_argument("--json", action="store_true", help="print the report as one line of JSON")
    options = parser.parse_args()
    for stop in (signal.SIGINT, signal.SIGTERM):  # even if the caller ignores them: the stack must be stopped
        signal.signal(stop, lambda *_: sys.exit(1))
    began = time.monotonic()
    if options.stacks > 1:
        report = _beside_each_other(options)
    else:
        with made_world() as world:
            report = Chaos(world, options.seed, options.runs, options.quiet, options.only).run(options.kills)
    if options.json:
        print(json.dumps(report.as_json()))
    else:
        print(f"\n{report}\n{time.monotonic() - began:.0f} s, seed {options.seed}, {options.stacks} stacks")
    return 0 if report.clean else 1


def _beside_each_other(options: argparse.Namespace) -> Report:
    total = Report()
    shares = [options.kills // options.stacks + (n < options.kills % options.stacks) for n in range(options.stacks)]
    stacks = [_start(options, number, kills) for number, kills in enumerate(shares)]
    try:
        for number, stack in enumerate(stacks):
            output, _ = stack.communicate()
            total.add(_read(number, stack.returncode, output))
    finally:
        for stack in stacks:
            stack.terminate()  # does nothing to a process that has ended
            stack.wait()
    return total


def _start(options: argparse.Namespace, number: int, kills: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.chaos", "--json", f"--kills={kills}", f"--runs={options.runs}"]
    command += [f"--seed={options.seed * 1000 + number}", f"--quiet={options.quiet}", "--only", *options.only]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _read(number: int, code: int, output: str) -> Report:
    try:
        return Report.from_json(json.loads(output.splitlines()[-1]))
    except (IndexError, ValueError):
        return Report(problems=[f"stack {number} broke with exit code {code}; its error is above"])


if __name__ == "__main__":
    sys.exit(main())
