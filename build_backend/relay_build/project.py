"""The places of relay-pid1 in the repository, and what identifies its source."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("x86_64", "aarch64")
"""The architectures that wheels and sdists carry, as `platform.machine` names them."""


_DEFINITION = re.compile(r"^[a-z][\w *]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)


class BuildError(Exception):
    """relay-pid1 could not be built; the message says why and what to install."""


@dataclass(frozen=True)
class Project:
    """A checkout, or an unpacked sdist, of this repository."""

    root: Path

    @property
    def source_dir(self) -> Path:
        """The directory of the C files."""
        return self.root / "src" / "relay_workers" / "containers" / "pid1" / "src"

    @property
    def binary_dir(self) -> Path:
        """The directory of the binaries, which git ignores."""
        return self.root / "src" / "relay_workers" / "containers" / "pid1" / "bin"

    @property
    def zig_lock(self) -> Path:
        """The requirements file that pins ``ziglang`` with its hashes."""
        return self.root / "build_backend" / "ziglang.lock"

    @property
    def zig_dir(self) -> Path:
        """The directory into which ``ziglang`` is installed, if this Python does not have it."""
        return self.root / "build" / "ziglang"

    def binary(self, architecture: str) -> Path:
        """Return the path of the binary for an architecture."""
        return self.binary_dir / f"relay-pid1-{architecture}"

    def c_files(self) -> list[Path]:
        """Return the C files to compile, in the order of their names.

        Raises:
            BuildError: there are none.
        """
        found = sorted(self.source_dir.glob("*.c"))
        if not found:
            raise BuildError(f"The source of relay-pid1 is missing: there is no C file in {self.source_dir}")
        return found

    def function_names(self) -> frozenset[str]:
        """Return the names of the functions that the C files define, each on a line that begins without a space."""
        text = "".join(path.read_text() for path in self.c_files())
        return frozenset(_DEFINITION.findall(text))

    def source_hash(self) -> str:
        """Return the sha256 of the names and contents of all C and header files, as hex."""
        digest = hashlib.sha256()
        for path in sorted([*self.c_files(), *self.source_dir.glob("*.h")]):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()
