"""Find the Debian or Ubuntu package mirror that this host uses, so that images use it too.

Only `read_host` reads files. It understands both formats of sources.list(5), one-line and deb822, and `mirror+file:`
URIs, which Debian's cloud images use (apt-transport-mirror(1)).
"""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path("/etc/apt")


@dataclass(frozen=True)
class Source:
    """One suite of a package archive, such as `bookworm-updates`."""

    uri: str
    suite: str
    components: tuple[str, ...]

    @property
    def line(self) -> str:
        """The source as a line of sources.list."""
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


@dataclass(frozen=True)
class HostArchive:
    """The package archive from which an image of this host's distribution is made."""

    codename: str
    mirror: str
    sources: tuple[Source, ...]
    """The suites of release, updates and security that the host uses."""


def parse_one_line(text: str) -> Iterator[Source]:
    """Yield a source for each line `deb [options] URI SUITE COMPONENT…`; skip other lines."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        if len(words) > 1 and words[1].startswith("["):
            end = next((place for place, word in enumerate(words) if word.endswith("]")), len(words))
            words = [words[0], *words[end + 1 :]]
        if len(words) >= 4:
            yield Source(words[1], words[2], tuple(words[3:]))


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the sources in the stanzas of a `.sources` file; skip stanzas that are disabled or lack the type `deb`."""
    for fields in _stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") in {"no", "false"}:
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in (*text.splitlines(), ""):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0].isspace() and name:
            fields[name] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return


def choose(codename: str, sources: list[Source]) -> HostArchive | None:
    """Return the package archive of the release `codename` from `sources`; None if no source is of that release.

    Only http(s) sources of the release's suites with the component `main` are used; a person added the others.
    """
    suites = [codename, f"{codename}-updates", f"{codename}-security"]
    fitting = [
        Source(source.uri, source.suite, tuple(word for word in source.components if word in {"main", "universe"}))
        for source in sources
        if source.suite in suites and "main" in source.components and source.uri.startswith(("http://", "https://"))
    ]
    mirrors = [source.uri for source in fitting if source.suite == codename]
    return HostArchive(codename, mirrors[0], tuple(dict.fromkeys(fitting))) if mirrors else None


def read_host(root: Path = SOURCES) -> HostArchive | None:
    """Return the package archive of this host; None if the host is neither Debian nor Ubuntu."""
    try:
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return None
    found: list[Source] = []
    for path in (root / "sources.list", *sorted((root / "sources.list.d").glob("*"))):
        if path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text(errors="replace"))
    return choose(codename, [_behind_mirror_file(source) for source in found])


def _behind_mirror_file(source: Source) -> Source:
    prefix = "mirror+file:"
    if not source.uri.startswith(prefix):
        return source
    try:
        lines = Path(source.uri.removeprefix(prefix)).read_text().split("\n")
    except OSError:
        return source
    first = next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), source.uri)
    return Source(first, source.suite, source.components)
