"""Where the local stack keeps its files, and the lock that makes it one per data directory."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from relay_core.settings import get_settings
from relay_stack.errors import StackProblem

MINIMUM_FREE_BYTES = 2 << 30
"""Base image, database and a first workspace need about one GiB."""


def data_dir_of_settings() -> Path:
    """Where the environment puts the data directory.

    Raises:
        StackProblem: a RELAY_* variable has a value that cannot be used; with each of them.
    """
    try:
        return get_settings().data_dir
    except ValidationError as error:
        wrong = [
            f"RELAY_{'_'.join(map(str, one['loc'])).upper()}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise StackProblem("The environment cannot be used:\n" + "\n".join(wrong)) from None


def open_data_dir(data_dir: Path) -> None:
    """Makes the data directory and checks that it can be used.

    Raises:
        StackProblem: no right to write there, or the disk is full.
    """
    try:
        # Others may pass, for Postgres under an account of its own; what lies below says itself who may read it.
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise StackProblem(f"Cannot make the data directory {data_dir}: {error.strerror}. {_elsewhere()}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StackProblem(f"This user may not write to the data directory {data_dir}. {_elsewhere()}")
    free = shutil.disk_usage(data_dir).free
    if free < MINIMUM_FREE_BYTES:
        raise StackProblem(
            f"The disk of {data_dir} is full: {free >> 20} MiB are free, {MINIMUM_FREE_BYTES >> 20} MiB are needed. "
            f"Free some space. {_elsewhere()}"
        )


def _elsewhere() -> str:
    return "Or choose another place: RELAY_DATA_DIR=/absolute/path"


@contextmanager
def stack_lock(data_dir: Path) -> Iterator[None]:
    """Held by the supervisor for as long as it lives; the kernel lets go of it when it dies.

    Raises:
        StackProblem: another stack runs on this data directory.
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
    """Whether a supervisor holds the lock.

    Raises:
        StackProblem: the data directory is another user's.
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
