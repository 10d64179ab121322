"""Gathers facts about the host of a node, for `relay doctor`."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from relay_core.open_files import raise_open_files
from relay_core.settings import Settings
from relay_workers.diagnostics.checks import Check, judge_disk, judge_git, judge_open_files
from relay_workers.diagnostics.host_checks import judge_mount, judge_pids, judge_privacy, judge_uids
from relay_workers.git.host.version import git_version, too_old_to_pin
from relay_workers.host_files.private_dirs import PRIVATE
from relay_workers.ownership.admission import capacity_of, host_pids
from relay_workers.ownership.node_identity import container_uid, default_concurrency

_SUBUID = Path("/etc/subuid")


def examine_disk(settings: Settings) -> list[Check]:
    """Examine the free disk space."""
    free = shutil.disk_usage(settings.data_dir).free
    return [judge_disk(settings.data_dir, free, settings.node_min_free_bytes, settings.node_pressure_bytes)]


def examine_open_files(settings: Settings) -> list[Check]:
    """Examine the limit of open files. This also raises the soft limit of this process to the hard limit."""
    return [judge_open_files(raise_open_files(), settings.worker_concurrency or default_concurrency())]


def examine_git(settings: Settings) -> list[Check]:
    """Examine whether this node's git can be forced to connect to the address that Relay checked before a fetch."""
    version = git_version()
    allowed = settings.git_allow_private_hosts
    return [judge_git(version, too_old_to_pin(version), private_hosts_allowed=allowed)]


def examine_host(settings: Settings) -> list[Check]:
    """Examine the limit of processes, the privacy of directories, mount options and user ids."""
    return [
        judge_pids(most_of_one=settings.max_pids, promised=capacity_of(settings).pids or 0, host=host_pids()),
        judge_privacy(_open_directories(settings.data_dir)),
        judge_mount(settings.data_dir, _missing_options(settings.data_dir)),
        judge_uids(
            one_uid=container_uid(settings),
            root=os.geteuid() == 0,
            span=settings.container_uid_range,
            delegated=list(_delegated_uids()),
        ),
    ]


def _open_directories(data_dir: Path) -> list[Path]:
    paths = [data_dir / name for name in PRIVATE]
    return [path for path in paths if path.exists() and stat.S_IMODE(path.lstat().st_mode) & 0o077]


def _missing_options(data_dir: Path) -> tuple[str, ...]:
    flags = os.statvfs(data_dir).f_flag
    return tuple(name for name, flag in (("nosuid", os.ST_NOSUID), ("nodev", os.ST_NODEV)) if not flags & flag)


def _delegated_uids() -> Iterator[range]:
    for line in _SUBUID.read_text().splitlines() if _SUBUID.is_file() else ():
        _, first, count = (*line.split(":"), "", "")[:3]
        if first.isdecimal() and count.isdecimal():
            yield range(int(first), int(first) + int(count))
