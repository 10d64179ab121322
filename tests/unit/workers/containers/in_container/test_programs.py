"""The bytes that Relay ships are those of the sources beside them."""

import os
import platform
import shutil
import socket
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from relay_workers.containers.in_container import programs
from relay_workers.containers.in_container.install import install_supervisor, pid1_command

SOURCES = files("relay_workers.containers.in_container")


def tools(machine: str) -> tuple[str, str] | None:
    """An assembler and an objcopy for ``machine``, where they are installed."""
    prefixes = ("", f"{machine}-linux-gnu-") if machine == platform.machine() else (f"{machine}-linux-gnu-",)
    for prefix in prefixes:
        if shutil.which("gcc") and shutil.which(f"{prefix}as") and shutil.which(f"{prefix}objcopy"):
            return f"{prefix}as", f"{prefix}objcopy"
    return None


def assemble(name: str, machine: str, directory: Path, found: tuple[str, str]) -> bytes:
    assembler, objcopy = found
    with as_file(SOURCES.joinpath(f"{name}.S")) as source:
        preprocess = ["gcc", "-E", "-P", "-undef", f"-D__{machine}__", "-x", "assembler-with-cpp", source]
        text = subprocess.run(preprocess, check=True, capture_output=True).stdout
    made = directory / f"{name}.o"
    subprocess.run([assembler, "-o", made, "-"], input=text, check=True)
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", made, directory / name], check=True)
    return (directory / name).read_bytes()


@pytest.mark.parametrize("name", ["pid1", "dial"])
def test_the_bytes_are_those_of_the_source(name, tmp_path):
    shipped = {machine: getattr(programs, name)(machine) for machine in ("x86_64", "aarch64")}
    found = {machine: tools(machine) for machine in shipped}
    for machine, program in shipped.items():
        assert program is not None
        assert program.startswith(b"\x7fELF")
        assert len(program) < 1024
        if (here := found[machine]) is not None:
            assert assemble(name, machine, tmp_path, here) == program


def test_another_machine_gets_a_shell():
    assert programs.pid1("riscv64") is None
    assert programs.dial("riscv64") is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_dial_joins_a_server_on_the_loopback(family, tmp_path):
    dial = install_supervisor(tmp_path) / "dial"
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        process = subprocess.Popen([dial, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer, _ = server.accept()
        sent = os.urandom(300_000)
        assert process.stdin is not None
        process.stdin.write(b"question")
        process.stdin.close()
        with peer.makefile("rb") as incoming:
            assert incoming.read() == b"question"
        peer.sendall(sent)
        peer.close()
        assert process.stdout is not None
        assert process.stdout.read() == sent
        assert process.wait(10) == 0
        assert subprocess.run([dial, str(port), "probe"], check=False).returncode == 0
    assert subprocess.run([dial, str(port), "probe"], check=False).returncode == 1


def test_installing_replaces_what_has_changed_and_nothing_else(tmp_path):
    directory = install_supervisor(tmp_path)
    names = {path.name for path in directory.iterdir()}
    assert names == {"pid1", "dial", "supervise.sh", "kill.sh"}
    before = {name: (directory / name).stat().st_ino for name in names}
    script = (directory / "kill.sh").read_bytes()
    with (directory / "kill.sh").open("rb") as running:
        (directory / "kill.sh").write_bytes(b"old")
        install_supervisor(tmp_path)
        assert running.read() == b"old"  # a shell that reads it goes on with what it had
    after = {name: (directory / name).stat().st_ino for name in names}
    assert {name for name in names if before[name] != after[name]} == {"kill.sh"}
    assert (directory / "kill.sh").read_bytes() == script
    assert directory.stat().st_mode & 0o777 == 0o755
    assert (directory / "pid1").stat().st_mode & 0o777 == 0o755


def test_pid1_is_run_from_the_mount():
    assert pid1_command() == ("/relay/pid1",)
