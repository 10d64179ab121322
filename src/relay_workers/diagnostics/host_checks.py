"""What `relay doctor` concludes of the host of a node: its directories, its uids, its processes. Pure decisions."""

from collections.abc import Iterable
from pathlib import Path

from relay_workers.diagnostics.checks import Check


def judge_privacy(open_directories: Iterable[Path]) -> Check:
    """Directories of the node that other accounts may enter."""
    names = ", ".join(str(path) for path in open_directories)
    if not names:
        return Check("privacy", "ok", "no other account can enter this node's workspaces, mirrors and stores")
    return Check(
        "privacy", "error", f"other accounts can enter {names}", "start a worker, which closes them: chmod 700"
    )


def judge_mount(data_dir: Path, missing: tuple[str, ...]) -> Check:
    """Mount options of the disk that holds what steps write."""
    if not missing:
        return Check("mount", "ok", f"{data_dir} is mounted nosuid,nodev")
    told = f"{data_dir} is mounted without {','.join(missing)}"
    return Check("mount", "ok", told, f"advice: a file system of its own for it, mounted {','.join(missing)}")


def judge_pids(*, most_of_one: int, promised: int, host: int) -> Check:
    """Processes and threads: RELAY_MAX_PIDS, what the node promises to all workspaces, and what the host can have."""
    told = f"workspaces may have {promised} processes of the {host} that this host can have"
    if promised >= host:
        todo = (
            "lower RELAY_NODE_PIDS, or raise kernel.pid_max: they could take all, and nothing of the host starts then"
        )
        return Check("pids", "warning", told, todo)
    if most_of_one > promised:
        todo = "a larger limit is cut to that; lower RELAY_MAX_PIDS, or raise kernel.pid_max"
        return Check("pids", "warning", f"{told}, and one may ask for {most_of_one} (RELAY_MAX_PIDS)", todo)
    return Check("pids", "ok", told)


def judge_uids(*, one_uid: int | None, root: bool, span: range, delegated: Iterable[range]) -> Check:
    """Whose uids the workspaces have.

    Args:
        one_uid: the uid that all have, if they do.
        root: whether the worker is root.
        span: the uids of which each gets one otherwise.
        delegated: what ``/etc/subuid`` gives to accounts of the host.
    """
    if one_uid is not None:
        why = "RELAY_CONTAINER_UID" if root else "the worker is not root, its own"
        todo = "workspaces share what the kernel counts by uid: unset it, or run the worker as root"
        return Check("uids", "warning", f"all workspaces that name no user have the uid {one_uid} ({why})", todo)
    told = f"each workspace has a uid of its own from {span.start}-{span.stop - 1}"
    if any(max(span.start, one.start) < min(span.stop, one.stop) for one in delegated):
        return Check(
            "uids", "warning", f"{told}, some of which /etc/subuid gives to an account", "change RELAY_CONTAINER_UIDS"
        )
    return Check("uids", "ok", told)
