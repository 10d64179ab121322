"""Reads from an executable which protections it has: 64-bit little-endian ELF of the two architectures of Relay."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MACHINES = {62: "x86_64", 183: "aarch64"}
_ET_DYN = 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_GNU_STACK, _PT_GNU_RELRO = 1, 2, 3, 0x6474E551, 0x6474E552
_PF_X, _PF_W = 1, 2
_DT_NEEDED, _DT_RPATH, _DT_TEXTREL, _DT_RUNPATH, _DT_FLAGS, _DT_FLAGS_1 = 1, 15, 22, 29, 30, 0x6FFFFFFB
_DF_TEXTREL, _DF_BIND_NOW, _DF_1_NOW, _DF_1_PIE = 0x4, 0x8, 0x1, 0x08000000
_SHT_SYMTAB, _STT_FUNC, _SHF_ALLOC = 2, 2, 2
_SYMBOL_SIZE = 24
_CANARY_FAILED = "__stack_chk_fail"


class NotElf(Exception):  # noqa: N818 - reads as what it says
    """A file is no 64-bit little-endian ELF executable of a known architecture."""


@dataclass(frozen=True)
class Executable:
    """The protections of an executable."""

    machine: str
    position_independent: bool
    """Whether the kernel loads it at a random address."""
    static: bool
    """Whether it names neither a dynamic loader nor a library."""
    search_path: bool
    """Whether it names directories of libraries (RPATH, RUNPATH)."""
    relro: bool
    """Whether relocated data becomes read-only before ``main`` runs."""
    bind_now: bool
    """Whether all relocations are done at the start."""
    stack_executable: bool
    writable_code: bool
    """Whether memory is mapped both writable and executable, or code is changed by relocations."""
    guarded: frozenset[str]
    """The functions that check a canary on their stack: those that call ``__stack_chk_fail``."""

    def faults(self, functions: frozenset[str]) -> list[str]:
        """Return the protections that are missing, as text.

        Args:
            functions: the functions of the program itself, without those of the C library. At least one of them must
                check a canary.
        """
        wrong = {
            "it is not position-independent": not self.position_independent,
            "it needs a dynamic loader or a library": not self.static,
            "it names directories of libraries": self.search_path,
            "its relocated data stays writable (no RELRO)": not self.relro,
            "its relocations are done lazily (no BIND_NOW)": not self.bind_now,
            "its stack is executable": self.stack_executable,
            "it has memory that is writable and executable": self.writable_code,
            "none of its functions checks a stack canary": not self.guarded & functions,
        }
        return [text for text, is_wrong in wrong.items() if is_wrong]


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    size: int


class _Function(NamedTuple):
    name: str
    address: int
    code: bytes


def read(path: Path) -> Executable:
    """Return the protections of an executable.

    Raises:
        NotElf: the file is something else.
    """
    data = path.read_bytes()
    try:
        return _inspect(data)
    except (struct.error, IndexError, ValueError) as error:
        raise NotElf(f"{path} is no ELF executable that this program can read: {error}") from error


def strip_debug(data: bytes) -> bytes:
    """Return an executable without its debug sections, and with its symbols, which `read` needs.

    The C library of ``ziglang`` brings 1.3 MB of them, and its linker can only leave out the symbols as well.
    """
    headers, size = _section_headers(data)
    (table,) = struct.unpack_from("<Q", data, 40)
    names = headers[struct.unpack_from("<H", data, 62)[0]][4]
    end = max(segment.offset + segment.size for segment in _segments(data))
    debug = {index for index, header in enumerate(headers) if data[names + header[0] :].startswith(b".debug_")}
    kept = bytearray(data[:end])
    rewritten = b""
    for index, header in enumerate(headers):
        entry = data[table + index * size : table + (index + 1) * size]
        if index in debug:
            entry = bytes(size)  # a section without a type; the others keep their numbers
        elif not header[2] & _SHF_ALLOC and header[1]:
            kept += bytes(-len(kept) % 8)
            entry = entry[:24] + struct.pack("<Q", len(kept)) + entry[32:]
            content = data[header[4] : header[4] + header[5]]
            kept += _without_symbols_of(debug, content) if header[1] == _SHT_SYMTAB else content
        rewritten += entry
    kept += bytes(-len(kept) % 8)
    kept[40:48] = struct.pack("<Q", len(kept))
    return bytes(kept + rewritten)


def _without_symbols_of(sections: set[int], table: bytes) -> bytes:
    """Return a table of symbols with those of some sections emptied: their values depend on where files were built."""
    symbols = [table[at : at + _SYMBOL_SIZE] for at in range(0, len(table), _SYMBOL_SIZE)]
    empty = bytes(_SYMBOL_SIZE)
    return b"".join(empty if struct.unpack_from("<H", each, 6)[0] in sections else each for each in symbols)


def _inspect(data: bytes) -> Executable:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("it does not begin as one")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if machine not in MACHINES:
        raise ValueError(f"its machine has the number {machine}")
    segments = list(_segments(data))
    dynamic = [entry for segment in segments if segment.kind == _PT_DYNAMIC for entry in _dynamic(data, segment)]
    flags = sum(value for tag, value in dynamic if tag == _DT_FLAGS)
    flags_1 = sum(value for tag, value in dynamic if tag == _DT_FLAGS_1)
    tags = {tag for tag, _ in dynamic}
    kinds = {segment.kind for segment in segments}
    stacks = [segment.flags for segment in segments if segment.kind == _PT_GNU_STACK]
    loads = [segment.flags for segment in segments if segment.kind == _PT_LOAD]
    return Executable(
        machine=MACHINES[machine],
        position_independent=kind == _ET_DYN and bool(flags_1 & _DF_1_PIE),
        static=_PT_INTERP not in kinds and _DT_NEEDED not in tags,
        search_path=bool(tags & {_DT_RPATH, _DT_RUNPATH}),
        relro=_PT_GNU_RELRO in kinds,
        bind_now=bool(flags & _DF_BIND_NOW or flags_1 & _DF_1_NOW),
        stack_executable=not stacks or any(each & _PF_X for each in stacks),
        writable_code=any(each & _PF_W and each & _PF_X for each in loads)
        or _DT_TEXTREL in tags
        or bool(flags & _DF_TEXTREL),
        guarded=_guarded(list(_functions(data)), MACHINES[machine]),
    )


def _segments(data: bytes) -> Iterator[_Segment]:
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, flags, offset, _, _, length, _, _ = struct.unpack_from("<IIQQQQQQ", data, table + index * size)
        yield _Segment(kind, flags, offset, length)


def _dynamic(data: bytes, segment: _Segment) -> Iterator[tuple[int, int]]:
    for offset in range(segment.offset, segment.offset + segment.size, 16):
        tag, value = struct.unpack_from("<QQ", data, offset)
        if tag == 0:
            return
        yield tag, value


def _functions(data: bytes) -> Iterator[_Function]:
    headers, _ = _section_headers(data)
    for _, kind, _, _, offset, length, link, _, _, entry in headers:
        if kind != _SHT_SYMTAB:
            continue
        names = headers[link][4]
        for at in range(offset, offset + length, entry):
            name, info, _, section, address, extent = struct.unpack_from("<IBBHQQ", data, at)
            if info & 0xF == _STT_FUNC and 0 < section < len(headers):
                start = address - headers[section][3] + headers[section][4]
                text = data[names + name : data.index(b"\0", names + name)].decode("ascii", "replace")
                yield _Function(text, address, data[start : start + extent])


def _section_headers(data: bytes) -> tuple[list[tuple[int, ...]], int]:
    """Return the headers of all sections (name, type, flags, address, offset, size, link, …) and the bytes of each."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    return [struct.unpack_from("<IIQQQQIIQQ", data, table + index * size) for index in range(count)], size


def _guarded(functions: list[_Function], machine: str) -> frozenset[str]:
    targets = {each.address for each in functions if each.name.startswith(_CANARY_FAILED)}
    calls = _calls_x86_64 if machine == "x86_64" else _calls_aarch64
    # A compiler may move the unlikely part of a function to `name.cold`.
    return frozenset(each.name.split(".")[0] for each in functions if not targets.isdisjoint(calls(each)))


def _calls_x86_64(function: _Function) -> Iterator[int]:
    """Yield the targets of all calls, and by chance other addresses: where instructions begin is not decoded."""
    at = function.code.find(b"\xe8")
    while 0 <= at <= len(function.code) - 5:
        yield function.address + at + 5 + struct.unpack_from("<i", function.code, at + 1)[0]
        at = function.code.find(b"\xe8", at + 1)


def _calls_aarch64(function: _Function) -> Iterator[int]:
    for at in range(0, len(function.code) - 3, 4):
        (word,) = struct.unpack_from("<I", function.code, at)
        if word >> 26 == 0b100101:
            distance = (word & 0x3FFFFFF) - ((word & 0x2000000) << 1)
            yield function.address + at + distance * 4
