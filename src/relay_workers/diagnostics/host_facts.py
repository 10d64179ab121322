"""Facts of a node's host, for `relay doctor`; what they mean is decided in `host_checks`."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from relay_core.settings import Settings
from relay_workers.diagnostics import host_checks
from relay_workers.diagnostics.checks import Check
from relay_workers.host_files.private_dirs import PRIVATE
from relay_workers.ownership.admission import capacity_of, host_pids
from relay_workers.ownership.node_identity import container_uid

_SUBUID = Path("/etc/subuid")


def look(settings: Settings) -> list[Check]:
    """What there is to say of this host."""
    return [
        host_checks.judge_pids(
            most_of_one=settings.max_pids, promised=capacity_of(settings).pids or 0, host=host_pids()
        ),
        host_checks.judge_privacy(_open_directories(settings.data_dir)),
        host_checks.judge_mount(settings.data_dir, _missing_options(settings.data_dir)),
        host_checks.judge_uids(
            one_uid=container_uid(settings),
            root=os.geteuid() == 0,
            span=settings.container_uid_range,
            delegated=list(_delegated()),
        ),
    ]


def _open_directories(data_dir: Path) -> list[Path]:
    paths = [data_dir / name for name in PRIVATE]
    return [path for path in paths if path.exists() and stat.S_IMODE(path.lstat().st_mode) & 0o077]


def _missing_options(data_dir: Path) -> tuple[str, ...]:
    flags = os.statvfs(data_dir).f_flag
    return tuple(name for name, flag in (("nosuid", os.ST_NOSUID), ("nodev", os.ST_NODEV)) if not flags & flag)


def _delegated() -> Iterator[range]:
    for line in _SUBUID.read_text().splitlines() if _SUBUID.is_file() else ():
        _, first, count = (*line.split(":"), "", "")[:3]
        if first.isdecimal() and count.isdecimal():
            yield range(int(first), int(first) + int(count))
