"""Builds relay-pid1 where the binary of the present source is not there yet."""

import fcntl
import hashlib
import json
import platform
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from relay_build import elf
from relay_build.compilers import Compiler, system_compilers, zig, zig_identity
from relay_build.project import ARCHITECTURES, BuildError, Project

INSTALL = (
    "Install a C compiler with a static C library (Debian and Ubuntu, as root: apt-get install gcc libc6-dev), or make "
    "the package index reachable for pip"
)


@dataclass(frozen=True)
class Stamp:
    """The origin of a binary, stored beside it."""

    source: str
    """The sha256 of the source and of this package."""
    compiler: str
    """The identity of the compiler."""
    binary: str
    """The sha256 of the binary itself."""


def ensure_for_machine(project: Project) -> Path:
    """Return the binary for this machine's architecture; build it if there is none of the present source.

    A system compiler builds it if one makes a binary that passes the checks, else the pinned ``ziglang``. A binary of
    the present source by ``ziglang`` or by a compiler of this machine is kept. So is one by any compiler, if this
    machine has none.

    Raises:
        BuildError: no compiler can be had, or none makes a binary that passes the checks.
    """
    architecture = platform.machine()
    if architecture not in ARCHITECTURES:
        raise BuildError(f"relay-pid1 runs on {' and '.join(ARCHITECTURES)}; this machine is {architecture}")
    source = _source_stamp(project)
    compilers = system_compilers()
    known = {zig_identity(project), *(each.identity for each in compilers)}
    with _locked(project):
        if _is_current(project.binary(architecture), source, lambda compiler: not compilers or compiler in known):
            return project.binary(architecture)
        refusals = []
        for compiler in compilers:
            try:
                return _build(project, architecture, compiler)
            except BuildError as error:
                refusals.append(str(error))
        try:
            return _build_with_zig(project, architecture)
        except BuildError as error:
            tried = "\n".join([*refusals, str(error)])
            raise BuildError(f"No compiler for relay-pid1. {INSTALL}. Tried:\n{tried}") from error


def ensure_for_release(project: Project) -> list[Path]:
    """Return the binaries for all architectures; build with the pinned ``ziglang`` those that it did not build yet.

    Raises:
        BuildError: ``ziglang`` cannot be installed, or a binary does not pass the checks.
    """
    source, pinned = _source_stamp(project), zig_identity(project)
    with _locked(project):
        for architecture in ARCHITECTURES:
            if not _is_current(project.binary(architecture), source, lambda compiler: compiler == pinned):
                _build_with_zig(project, architecture)
    return [project.binary(architecture) for architecture in ARCHITECTURES]


@contextmanager
def _locked(project: Project) -> Iterator[None]:
    """Keep other builds of the same checkout waiting."""
    project.binary_dir.mkdir(parents=True, exist_ok=True)
    with (project.binary_dir / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_current(binary: Path, source: str, accepts: Callable[[str], bool]) -> bool:
    try:
        stamp = Stamp(**json.loads(_stamp_path(binary).read_text()))
        return stamp.source == source and stamp.binary == _sha256(binary) and accepts(stamp.compiler)
    except (OSError, ValueError, TypeError):  # none yet, or one of another version of this program
        return False


def _build_with_zig(project: Project, architecture: str) -> Path:
    with tempfile.TemporaryDirectory(prefix="relay-zig-") as cache:
        return _build(project, architecture, zig(project, architecture, Path(cache)))


def _build(project: Project, architecture: str, compiler: Compiler) -> Path:
    """Compile, check, and put binary and stamp in place.

    Raises:
        BuildError: the compiler failed, or its binary does not pass the checks.
    """
    target = project.binary(architecture)
    source = _source_stamp(project)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=project.binary_dir) as folder:
        made = Path(folder) / target.name
        compiler.compile(project, made)
        _strip(made, compiler)
        _check(project, made, architecture, compiler)
        stamp = Stamp(source, compiler.identity, _sha256(made))
        _stamp_path(made).write_text(json.dumps(asdict(stamp), indent=1) + "\n")
        made.chmod(0o755)
        _stamp_path(target).unlink(missing_ok=True)  # at no time does a stamp stand beside another binary than its own
        made.replace(target)
        _stamp_path(made).replace(_stamp_path(target))
    return target


def _strip(binary: Path, compiler: Compiler) -> None:
    try:
        binary.write_bytes(elf.strip_debug(binary.read_bytes()))
    except (struct.error, IndexError, ValueError) as error:
        raise BuildError(f"{compiler.identity} made no ELF executable that can be stripped: {error}") from error


def _check(project: Project, binary: Path, architecture: str, compiler: Compiler) -> None:
    by = f"The binary of {compiler.identity}"
    try:
        found = elf.read(binary)
    except elf.NotElf as error:
        raise BuildError(f"{by}: {error}") from error
    if found.machine != architecture:
        raise BuildError(f"{by} is for {found.machine}, not for {architecture}")
    if faults := found.faults(project.function_names()):
        raise BuildError(f"{by} does not pass the checks: {', '.join(faults)}")
    if architecture == platform.machine():
        try:
            subprocess.run([binary, "--version"], capture_output=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError) as error:
            raise BuildError(f"{by} does not run: {error}") from error


def _stamp_path(binary: Path) -> Path:
    return binary.with_name(f"{binary.name}.stamp")


def _source_stamp(project: Project) -> str:
    recipe = "".join(_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(f"{recipe} {project.source_hash()}".encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
