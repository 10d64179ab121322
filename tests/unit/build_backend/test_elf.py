"""The reader of executables: its view of programs that this machine has, and of calls on both architectures."""

import struct
import sys
from pathlib import Path

import pytest

from relay_build import elf


def test_a_dynamic_program_is_seen_as_one():
    found = elf.read(Path(sys.executable).resolve())
    assert not found.static
    assert not found.stack_executable
    assert "it needs a dynamic loader or a library" in found.faults(frozenset({"main"}))


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + bytes(60), b"\x7fELF\x01\x01" + bytes(60)]
)
def test_another_file_is_refused(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(elf.NotElf, match="is no ELF executable that this program can read"):
        elf.read(file)


def test_calls_of_x86_64_are_found_forwards_and_backwards():
    code = b"\x90\xe8" + struct.pack("<i", 0x10) + b"\xe8" + struct.pack("<i", -0x20) + b"\xe8"
    assert list(elf._calls_x86_64(elf._Function("f", 0x1000, code))) == [0x1016, 0xFEB]


def test_calls_of_aarch64_are_found_forwards_and_backwards():
    code = struct.pack("<IIII", 0xD503201F, 0x94000002, 0x97FFFFFF, 0x14000001)  # nop, bl +8, bl -4, b +4
    assert list(elf._calls_aarch64(elf._Function("f", 0x1000, code))) == [0x100C, 0x1004]
