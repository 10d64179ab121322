"""Groups of tests that run in one process, and their order, when the suite runs in several processes.

pytest-xdist (`--dist loadscope`, group_scheduling.py) gives a group of tests to one process, and the next group to a
process that is nearly done with its last one. Modules that use a whole Relay share it within a group: each group of `TOGETHER` starts its own.
Every other module is a group.
"""

import os
from pathlib import Path

TOGETHER = {
    "chaos": ("faults/test_chaos.py",),
    "nodes and engines": (
        "faults/test_engines.py",
        "faults/test_blocked_engine.py",
        "faults/test_divergence.py",
        "faults/test_quarantine.py",
        "faults/test_health.py",
        "faults/test_full_disk.py",
        "faults/test_flower_and_adoption.py",
    ),
    "workers die": (
        "faults/test_worker_dies.py",
        "faults/test_boundaries.py",
        "faults/test_merges.py",
        "faults/test_forks.py",
        "faults/test_expiry.py",
        "faults/test_clocks.py",
        "faults/test_admission.py",
    ),
    "agents": (
        "acceptance/agents/test_matrix.py",
        "acceptance/agents/test_homes.py",
        "acceptance/agents/test_lifecycle.py",
    ),
    "stacks": ("acceptance/test_compose.py", "acceptance/test_stack_up.py", "acceptance/test_docs.py"),
    "servers die": ("faults/test_servers_die.py", "faults/test_last_resort.py", "faults/test_hanging_disk.py"),
    "runs": (
        "acceptance/test_main_job.py",
        "acceptance/test_merges.py",
        "acceptance/test_migrate.py",
        "acceptance/test_stop_resume_retry.py",
        "acceptance/test_run_options.py",
        "acceptance/test_remotes.py",
        "acceptance/test_logs.py",
    ),
    "attacks": (
        "acceptance/test_hostile.py",
        "acceptance/test_caps.py",
        "acceptance/test_kill.py",
        "acceptance/test_secrets.py",
        "acceptance/test_stored_files.py",
        "acceptance/test_masking.py",
        "acceptance/test_evidence.py",
        "acceptance/test_agent_ends.py",
        "acceptance/test_images.py",
        "acceptance/test_real_project.py",
    ),
    "flower": (
        "acceptance/flower/test_flower_terminate.py",
        "acceptance/flower/test_flower_view.py",
        "acceptance/flower/test_flower_and_page.py",
    ),
}
"""Modules by the name of their group; the groups begin in this order."""
FOLDERS = ("faults", "acceptance", "integration", "conformance", "unit")
"""Order of the modules that are a group each: the slow ones first, so that short ones fill the end."""
_GROUPS = {module: (name, number) for number, (name, modules) in enumerate(TOGETHER.items()) for module in modules}


def group_of(module: Path) -> str:
    """Name of the group of a test module, given by its path below `tests/`."""
    return _GROUPS[str(module)][0] if str(module) in _GROUPS else str(module)


def starts_relay(group: str) -> bool:
    """Do the tests of this group start API and workers?"""
    return group in TOGETHER or group.startswith(("acceptance/", "faults/"))


def processes_for_stacks() -> int:
    """Number of processes that may run groups that start a whole Relay; the first ones do."""
    return int(os.environ.get("RELAY_TEST_STACKS", "3"))


def order_of(module: Path) -> int:
    """Place of a test module, given by its path below `tests/`: a lower one begins earlier."""
    if str(module) in _GROUPS:
        return _GROUPS[str(module)][1]
    folder = module.parts[0]
    return len(TOGETHER) + (FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS))
