"""The compilers that may build relay-pid1: those of the system, and ``ziglang`` from PyPI."""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from relay_build.project import BuildError, Project

COMPILE_FLAGS = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Werror",
    "-fPIE",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",  # some distributions define another level
    "-D_FORTIFY_SOURCE=2",  # for glibc; the headers of musl have no such checks
    "-pthread",
)
LINK_FLAGS = ("-Wl,-z,relro,-z,now,-z,noexecstack",)
SYSTEM_COMPILERS = ("musl-gcc", "cc", "gcc", "clang")


@dataclass(frozen=True)
class Compiler:
    """A command that compiles and links C for one architecture."""

    command: tuple[str, ...]
    identity: str
    """A line that differs between two compilers that may make different binaries."""
    link_flags: tuple[str, ...]
    """The flags that make a static position-independent executable, and others of this compiler alone."""
    environment: tuple[tuple[str, str], ...] = ()

    def compile(self, project: Project, target: Path) -> None:
        """Compile the C files of a project into the executable ``target``.

        Raises:
            BuildError: the compiler failed; the message has the end of its output.
        """
        sources = [path.name for path in project.c_files()]
        words = [*self.command, *COMPILE_FLAGS, *self.link_flags, *LINK_FLAGS, *sources, "-o", str(target)]
        done = subprocess.run(
            words,
            cwd=project.source_dir,  # names without a directory: the binary does not depend on where it is built
            env={**os.environ, **dict(self.environment)},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            output = (done.stderr or done.stdout).strip()[-2000:]
            raise BuildError(f"{shlex.join(self.command)} failed with exit code {done.returncode}:\n{output}")


def system_compilers() -> list[Compiler]:
    """Return the compilers that are installed on this machine, the preferred one first (``$CC``, if it is set)."""
    named = shlex.split(os.environ.get("CC", ""))
    candidates = [named] if named else [[name] for name in SYSTEM_COMPILERS]
    found = []
    for words in candidates:
        if shutil.which(words[0]) is None:
            continue
        done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            identity = f"{shlex.join(words)}: {done.stdout.splitlines()[0]}"
            found.append(Compiler(tuple(words), identity, ("-static-pie",)))
    return found


def zig_identity(project: Project) -> str:
    """Return the identity of the pinned ``ziglang``, which need not be installed."""
    return f"ziglang {_zig_version(project)}"


def zig(project: Project, architecture: str, cache: Path) -> Compiler:
    """Return the pinned ``ziglang`` as a compiler for an architecture; install it first if needed.

    Args:
        project: a checkout whose lock pins ``ziglang``.
        architecture: one of `ARCHITECTURES`.
        cache: an existing directory for files of one compilation.

    Raises:
        BuildError: ``ziglang`` cannot be installed.
    """
    return Compiler(
        (*_zig_command(project), "cc", "-target", f"{architecture}-linux-musl"),
        zig_identity(project),
        # musl: CMSG_NXTHDR compares integers of different signs, and ioctl takes its request, an unsigned one, as int.
        ("-static", "-pie", "-Wno-sign-compare", "-Wno-sign-conversion"),
        (("ZIG_LOCAL_CACHE_DIR", str(cache)),),
    )


def _zig_version(project: Project) -> str:
    found = re.search(r"^ziglang==(\S+)", project.zig_lock.read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{project.zig_lock} pins no ziglang")
    return found[1]


def _zig_command(project: Project) -> tuple[str, ...]:
    version = _zig_version(project)
    try:
        if importlib.metadata.version("ziglang") == version:
            return (sys.executable, "-m", "ziglang")
    except importlib.metadata.PackageNotFoundError:
        pass
    target = project.zig_dir.with_name(f"{project.zig_dir.name}-{version}")
    program = target / "ziglang" / "zig"
    if not program.exists():
        _install_zig(project, target)
    return (str(program),)


def _install_zig(project: Project, target: Path) -> None:
    """Install ``ziglang`` into a directory by the pip of this Python, hashes checked.

    In an isolated build pip hides its own environment from the backend by PYTHONPATH; pip itself is outside of it.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONNOUSERSITE"}}
    words = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--root-user-action=ignore", "-qq"]
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    words += ["--no-deps", "--require-hashes", "--target", str(partial), "-r", str(project.zig_lock)]
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise BuildError(
                f"ziglang cannot be installed from {project.zig_lock.name}:\n{done.stderr.strip()[-1000:]}"
            )
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
