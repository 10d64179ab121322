"""Judgements of `relay doctor` on the host of a node: pure functions from facts to a `Check`."""

from collections.abc import Iterable
from pathlib import Path

from relay_workers.diagnostics.checks import Check


def judge_privacy(open_directories: Iterable[Path]) -> Check:
    """Judge whether other accounts of the host can enter the node's directories.

    Args:
        open_directories: the directories that they can enter; there should be none.
    """
    names = ", ".join(str(path) for path in open_directories)
    if not names:
        return Check("privacy", "ok", "no other account can enter this node's workspaces, mirrors and stores")
    return Check(
        "privacy", "error", f"other accounts can enter {names}", "start a worker, which closes them: chmod 700"
    )


def judge_mount(data_dir: Path, missing: tuple[str, ...]) -> Check:
    """Judge the mount options of the data directory. Missing ones are only advice, not a warning.

    Args:
        data_dir: the data directory.
        missing: those of the options nosuid and nodev that it is mounted without.
    """
    if not missing:
        return Check("mount", "ok", f"{data_dir} is mounted nosuid,nodev")
    facts = f"{data_dir} is mounted without {','.join(missing)}"
    return Check("mount", "ok", facts, f"advice: a file system of its own for it, mounted {','.join(missing)}")


def judge_pids(*, most_of_one: int, promised: int, host: int) -> Check:
    """Judge the limits on processes and threads.

    Args:
        most_of_one: largest number that one workspace may request (RELAY_MAX_PIDS).
        promised: largest number that the node promises to all workspaces together.
        host: largest number that the host can have.
    """
    facts = f"workspaces may have {promised} processes of the {host} that this host can have"
    if promised >= host:
        advice = (
            "lower RELAY_NODE_PIDS, or raise kernel.pid_max: they could take all, and nothing of the host starts then"
        )
        return Check("pids", "warning", facts, advice)
    if most_of_one > promised:
        advice = "a larger limit is cut to that; lower RELAY_MAX_PIDS, or raise kernel.pid_max"
        return Check("pids", "warning", f"{facts}, and one may ask for {most_of_one} (RELAY_MAX_PIDS)", advice)
    return Check("pids", "ok", facts)


def judge_uids(*, one_uid: int | None, root: bool, span: range, delegated: Iterable[range]) -> Check:
    """Judge the user ids of workspaces.

    Args:
        one_uid: the user id that all workspaces share; None if each has its own.
        root: whether the worker runs as root.
        span: the user ids from which each workspace gets its own.
        delegated: the ranges of user ids that ``/etc/subuid`` gives to accounts of the host.
    """
    if one_uid is not None:
        why = "RELAY_CONTAINER_UID" if root else "the worker is not root, and this is its own"
        advice = "workspaces share the kernel's limits per uid: unset it, or run the worker as root"
        return Check("uids", "warning", f"all workspaces that name no user have the uid {one_uid} ({why})", advice)
    facts = f"each workspace has a uid of its own from {span.start}-{span.stop - 1}"
    if any(max(span.start, uids.start) < min(span.stop, uids.stop) for uids in delegated):
        return Check(
            "uids", "warning", f"{facts}, some of which /etc/subuid gives to an account", "change RELAY_CONTAINER_UIDS"
        )
    return Check("uids", "ok", facts)
