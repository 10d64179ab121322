"""When relay-pid1 is compiled, by which compiler, and what is said where there is none."""

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from relay_build import binaries, compilers
from relay_build.binaries import ensure_for_machine, ensure_for_release
from relay_build.compilers import SYSTEM_COMPILERS
from relay_build.project import BuildError, Project

MACHINE = platform.machine()


@pytest.fixture
def no_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def no_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BuildError("ziglang cannot be installed")

    monkeypatch.setattr(compilers, "_install_zig", refuse)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def stamp_of(binary: Path) -> dict[str, str]:
    return json.loads(binary.with_name(f"{binary.name}.stamp").read_text())


def zig_made_them(project: Project, architectures: tuple[str, ...]) -> None:
    """As an unpacked sdist: binaries of the present source, with stamps that name the pinned compiler."""
    made = ensure_for_machine(project).read_bytes()
    stamp = stamp_of(project.binary(MACHINE)) | {"compiler": "ziglang 0.17.1"}
    for each in architectures:
        project.binary(each).write_bytes(made)
        project.binary(each).with_name(f"relay-pid1-{each}.stamp").write_text(json.dumps(stamp))


def test_a_system_compiler_builds_for_the_machine_and_only_once(project):
    made = ensure_for_machine(project)
    assert subprocess.run([made, "--version"], capture_output=True, text=True, check=True).stdout == "relay-pid1 2\n"
    before = made.stat().st_ino, made.stat().st_mtime_ns
    assert ensure_for_machine(project) == made
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == before
    assert sorted(path.name for path in project.binary_dir.iterdir()) == [".lock", made.name, f"{made.name}.stamp"]


def test_a_changed_source_a_damaged_binary_and_another_compiler_are_each_built_anew(project, tmp_path, monkeypatch):
    made = ensure_for_machine(project)
    first = stamp_of(made)
    (project.source_dir / "more.h").write_text("#define MORE 1\n")
    ensure_for_machine(project)
    assert stamp_of(made)["source"] != first["source"]

    whole = made.read_bytes()
    made.write_bytes(whole[:1000])
    ensure_for_machine(project)
    assert made.read_bytes() == whole

    monkeypatch.setenv(
        "CC", program(tmp_path / "other", 'case $1 in --version) echo other 1 ;; *) exec cc "$@" ;; esac')
    )
    ensure_for_machine(project)
    assert stamp_of(made)["compiler"] == f"{tmp_path}/other: other 1"


def test_the_build_does_not_depend_on_the_place_of_the_checkout(project, tmp_path):
    made = ensure_for_machine(project).read_bytes()
    project.root.rename(tmp_path / "elsewhere")
    moved = Project(tmp_path / "elsewhere")
    moved.binary(MACHINE).unlink()
    assert ensure_for_machine(moved).read_bytes() == made


def test_a_binary_of_an_sdist_is_kept_and_no_compiler_is_asked(project, monkeypatch):
    zig_made_them(project, ("x86_64", "aarch64"))
    monkeypatch.setattr(binaries, "_build", None)  # a call of it would fail
    assert ensure_for_machine(project) == project.binary(MACHINE)
    assert ensure_for_release(project) == [project.binary("x86_64"), project.binary("aarch64")]


def test_a_binary_by_a_compiler_that_is_gone_is_kept_where_there_is_none(project, monkeypatch):
    made = ensure_for_machine(project)
    monkeypatch.setenv("CC", "/nonexistent/cc")
    monkeypatch.setattr(binaries, "_build", None)
    assert ensure_for_machine(project) == made


@pytest.mark.usefixtures("no_zig")
def test_a_release_does_not_take_the_binary_of_a_system_compiler(project):
    ensure_for_machine(project)
    with pytest.raises(BuildError, match="ziglang cannot be installed"):
        ensure_for_release(project)


@pytest.mark.usefixtures("no_package_index")
def test_without_any_compiler_the_error_says_what_to_install(project, monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(
        BuildError, match=r"No compiler for relay-pid1\. Install a C compiler .* apt-get install gcc"
    ) as found:
        ensure_for_machine(project)
    assert "ziglang cannot be installed from ziglang.lock" in str(found.value)
    assert not project.binary(MACHINE).exists()


@pytest.mark.usefixtures("no_zig")
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "failed with exit code 3"),
        ('exec cc "$@" -no-pie -static', "it is not position-independent"),
        (
            'exec cc "$@" -Wl,-z,lazy,-z,norelro,-z,execstack',
            "stays writable .no RELRO.*lazily.*its stack is executable",
        ),
        ('exec cc "$@" -fno-stack-protector', "none of its functions checks a stack canary"),
        (
            'for word; do shift; [ "$word" = -static-pie ] || set -- "$@" "$word"; done; exec cc -pie "$@" -Wl,-rpath,/tmp',
            "it needs a dynamic loader or a library, it names directories",
        ),
        ('for last; do :; done; echo text >"$last"', "made no ELF executable that can be stripped"),
    ],
)
def test_a_compiler_whose_binary_does_not_pass_the_checks_is_refused(project, tmp_path, monkeypatch, script, why):
    version = "[ $1 = --version ] && { echo odd 1; exit; }"
    monkeypatch.setenv("CC", program(tmp_path / "odd", f"{version}\n{script}"))
    with pytest.raises(BuildError, match=why):
        ensure_for_machine(project)
    assert not project.binary(MACHINE).exists()


def test_the_next_system_compiler_is_taken_where_the_first_is_refused(project, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder / SYSTEM_COMPILERS[0], "[ $1 = --version ] && { echo odd 1; exit; }\nexit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert not stamp_of(ensure_for_machine(project))["compiler"].startswith(SYSTEM_COMPILERS[0])


@pytest.mark.usefixtures("no_zig")
def test_a_warning_in_the_source_is_an_error(project):
    (project.source_dir / "main.c").write_text("int main(void) { int unused; return 0; }\n")
    with pytest.raises(BuildError, match="unused"):
        ensure_for_machine(project)


def test_a_checkout_without_the_source_says_so(tmp_path):
    project = Project(tmp_path)
    project.zig_lock.parent.mkdir()
    project.zig_lock.write_text("ziglang==1\n")
    with pytest.raises(BuildError, match="there is no C file in"):
        ensure_for_machine(project)
