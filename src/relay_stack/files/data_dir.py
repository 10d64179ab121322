"""The data directory of the local stack, and the lock that allows only one running stack in it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay_stack.errors import StackProblem

GIB = 1 << 30
MINIMUM_FREE_BYTES = 2 * GIB
"""Free bytes that a start needs: base image, database and a first workspace take about 1 GiB."""


def open_data_dir(data_dir: Path) -> None:
    """Create the data directory if it is missing, and check that the stack can use it.

    Raises:
        StackProblem: the directory cannot be created or written, or its disk has less than MINIMUM_FREE_BYTES free.
    """
    try:
        # Other users may pass through, because Postgres has a separate account; files inside have stricter modes.
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise StackProblem(f"Cannot make the data directory {data_dir}: {error.strerror}. {_elsewhere()}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StackProblem(f"This user may not write to the data directory {data_dir}. {_elsewhere()}")
    free = shutil.disk_usage(data_dir).free
    if free < MINIMUM_FREE_BYTES:
        raise StackProblem(
            f"The disk of {data_dir} is full: {free / GIB:.1f} GiB are free, {MINIMUM_FREE_BYTES / GIB:.1f} GiB are "
            f"needed. Free some space. {_elsewhere()}"
        )


def _elsewhere() -> str:
    return "Or choose another directory: RELAY_DATA_DIR=/absolute/path"


@contextmanager
def stack_lock(data_dir: Path) -> Iterator[None]:
    """Hold the lock of a data directory while the block runs.

    The supervisor holds the lock all its life. If the supervisor dies, the kernel releases the lock.

    Raises:
        StackProblem: another stack holds the lock.
    """
    with _lock_file(data_dir).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackProblem(
                f"A Relay stack runs on {data_dir} already. See it with `relay status`, end it with `relay down`."
            ) from None
        yield


def stack_is_up(data_dir: Path) -> bool:
    """Return whether a supervisor holds the lock of a data directory.

    Raises:
        StackProblem: the data directory belongs to another user.
    """
    try:
        with _lock_file(data_dir).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except PermissionError:
        raise StackProblem(f"{data_dir} belongs to another user. Run this as that user. {_elsewhere()}") from None
    return False


def _lock_file(data_dir: Path) -> Path:
    return data_dir / "stack.lock"
