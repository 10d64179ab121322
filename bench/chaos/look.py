"""Compare each run of the load with its expected outcome."""

import time
from collections import Counter
from contextlib import suppress

import docker
from bench.chaos.client import FINAL
from bench.chaos.load import Expected, Job
from bench.chaos.report import Report
from bench.chaos.world import World
from tests.support.relay import Relay

HELPERS_SECONDS = 20.0


def look_at(world: World, job: Job, report: Report) -> None:
    """Compare one run with its expected outcome and add the result to the report. Its workspace must still exist."""
    report.jobs[job.kind] += 1
    api = world.api
    workspace = api.get(f"/v1/workspaces/{job.workspace_id}")
    steps = [api.get(f"/v1/executions/{row['id']}") for row in api.executions({"workspace_id": job.workspace_id})]
    notes = _notes(world.node_of(workspace["node_id"]), job.workspace_id) if workspace["node_id"] else Counter()
    for step in steps:
        report.executions += 1
        told = f"{job.kind} {step['id']} ({step['run_reason']})"
        if step["status"] not in FINAL:
            report.stuck += 1
            continue
        expected = job.expected.get(step["id"])
        if expected is None:
            if job.done:
                report.problems.append(f"{told}: it should not be there; {step['status']} {step['reason']}")
            continue
        if (step["status"], step["reason"]) != (expected.status, expected.reason):
            end = (step["status"], step["reason"], step["error_reason"])
            report.problems.append(f"{told}: {end} instead of {(expected.status, expected.reason)}")
        _compare(api, step["id"], told, expected, report)
        _count_starts(notes[step["id"]], told, expected, report)
        try:
            world.stack.must_be_whole(step["id"])
        except AssertionError as error:
            report.problems.append(f"{told}: {str(error)[:300]}")
    if missing := set(job.expected) - {step["id"] for step in steps}:
        report.problems.append(f"{job.kind} {job.workspace_id}: executions are missing: {missing}")


def _notes(node: Relay, workspace_id: str) -> Counter[str]:
    file = node.data_dir / "workspaces" / workspace_id / "home" / "ran"
    return Counter(file.read_text().split()) if file.exists() else Counter()


def _count_starts(count: int, told: str, expected: Expected, report: Report) -> None:
    if count > 1:
        report.double_runs += 1
        report.problems.append(f"{told}: its process ran {count} times")
    if count == 0 and expected.notes and (expected.match == "whole"):
        report.problems.append(f"{told}: its process never ran")


def _compare(api: Relay, execution_id: str, told: str, expected: Expected, report: Report) -> None:
    if not expected.notes:  # Relay itself writes the log of a clone
        return
    stored = api.log(execution_id, "stdout")
    report.log_bytes += len(stored)
    wanted = expected.stdout if expected.match == "whole" else expected.stdout[: len(stored)]
    if stored == wanted:
        return
    want, have = Counter(wanted.splitlines(keepends=True)), Counter(stored.splitlines(keepends=True))
    lost, more = want - have, have - want
    report.bytes_lost += sum(map(len, lost.elements()))
    report.bytes_doubled += sum(map(len, more.elements()))
    report.problems.append(f"{told}: {lost.total()} lines lost, {more.total()} too many, or in another order")


def left_running(world: World, report: Report) -> None:
    """Report processes other than init that still run in workspace containers after waiting up to HELPERS_SECONDS."""
    until = time.monotonic() + HELPERS_SECONDS
    while (left := _running(world)) and time.monotonic() < until:
        time.sleep(1)  # poll: no event reports the end of a process in a container
    report.problems += [f"{name}: still runs {processes}" for name, processes in left.items()]


def _running(world: World) -> dict[str, list[str]]:
    listed = {}
    for container in world.containers():
        with suppress(docker.errors.APIError):  # it was stopped or removed after it was listed: nothing runs in it
            listed[container.name] = container.top()["Processes"]
    return {name: [row[-1] for row in rows[1:]] for name, rows in listed.items() if len(rows) > 1}
