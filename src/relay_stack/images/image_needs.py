"""Checks, before a build, that an image of the user has all that the agents to be put on it need."""

from collections.abc import Mapping
from dataclasses import dataclass

import docker

from relay_core.console.output import note
from relay_stack.errors import StackProblem

Version = tuple[int, ...]
OLDEST_GLIBC: Version = (2, 28)
"""Oldest version of glibc that Node.js 22 and the agents' programs run with."""

_PROBE = """\
for loader in /lib*/ld-linux*.so.* /lib/*/ld-linux*.so.*; do [ -e "$loader" ] && echo glibc=0; done
(getconf GNU_LIBC_VERSION || ldd --version) 2>/dev/null | sed -n 's/^.* \\([0-9]*\\.[0-9]*\\)$/glibc=\\1/p;q'
python3 -c 'import sys; print("python=%d.%d" % sys.version_info[:2])' 2>/dev/null
python3 -c 'import venv; print("venv=0")' 2>/dev/null
for library in /usr/lib*/libstdc++.so.6 /usr/lib/*/libstdc++.so.6 /lib/*/libstdc++.so.6; do
    [ -e "$library" ] && echo libstdc++=0
done
command -v git >/dev/null && echo git=0
for store in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [ -e "$store" ] && echo certificates=0
done
true
"""


@dataclass(frozen=True)
class Needs:
    """Needs of one agent that the image below it must meet."""

    glibc: bool = False
    """A glibc of OLDEST_GLIBC or newer."""
    node: bool = False
    """It runs on Node.js, which is installed with it and needs libstdc++ in the image."""
    python: tuple[Version, Version | None] | None = None
    """Oldest and newest python3 that it runs on; no newest: every newer one."""


def check_image(client: docker.DockerClient, image: str, agents: Mapping[str, Needs]) -> None:
    """Return where an image meets the agents' needs; git and certificates that it lacks are noted.

    Args:
        client: client of the engine.
        image: the image.
        agents: agent → its needs.

    Raises:
        StackProblem: the image does not meet a need; the message says which agent needs it, and what to do.
    """
    try:
        output: bytes = client.containers.run(
            image, ["-c", _PROBE], entrypoint="/bin/sh", user="0", network_mode="none", remove=True, stderr=False
        )
    except docker.errors.APIError as error:
        raise StackProblem(f"The image {image} has no /bin/sh that runs, which every step needs: {error}") from error
    facts = read_facts(output.decode(errors="replace"))
    if missing := lacks(facts, agents):
        raise StackProblem("\n".join(f"The image {image} {lack}" for lack in missing))
    for name, effect in (("git", "agents cannot commit"), ("certificates", "some agents cannot verify TLS")):
        if name not in facts:
            note(f"The image {image} has no {name}: {effect} until it does")


def read_facts(output: str) -> dict[str, Version]:
    """Facts from the probe's output: name → version, () for one without a version; the last line of a name counts."""
    pairs = (line.partition("=") for line in output.splitlines())
    return {name: _version(value) for name, _, value in pairs if name}


def lacks(facts: Mapping[str, Version], agents: Mapping[str, Needs]) -> list[str]:
    """Needs that the image does not meet, each as the end of a sentence that begins with the image's name.

    Args:
        facts: as of `read_facts`.
        agents: agent → its needs.
    """
    native = _names(agents, [name for name, needs in agents.items() if needs.glibc])
    found = []
    if native and (problem := _glibc_problem(facts)):
        found.append(f"{problem}, which {native} needs: use one based on Debian, Ubuntu, Fedora or the like")
    if "libstdc++" not in facts and (scripts := [name for name, needs in agents.items() if needs.node]):
        found.append(
            f"has no libstdc++.so.6, which {_names(agents, scripts)} needs: install it there (Debian: libstdc++6)"
        )
    for name, needs in agents.items():
        if needs.python and (problem := _python_problem(facts, *needs.python)):
            found.append(f"{problem}, which {name} needs: install it there, or use another image")
    return found


def _glibc_problem(facts: Mapping[str, Version]) -> str | None:
    version = facts.get("glibc")
    if version is None:
        return "has no glibc"
    return (
        f"has glibc {_dotted(version)}, not {_dotted(OLDEST_GLIBC)} or newer" if () < version < OLDEST_GLIBC else None
    )


def _python_problem(facts: Mapping[str, Version], oldest: Version, newest: Version | None) -> str | None:
    version = facts.get("python")
    wanted = f"{_dotted(oldest)} to {_dotted(newest)}" if newest else f"{_dotted(oldest)} or newer"
    if version is None:
        return f"has no python3 ({wanted})"
    if version < oldest or (newest and version > newest):
        return f"has python3 {_dotted(version)}, not {wanted}"
    return None if "venv" in facts else "has a python3 without its module venv (Debian: python3-venv)"


def _names(agents: Mapping[str, Needs], chosen: list[str]) -> str:
    return "each of the agents" if len(chosen) == len(agents) > 1 else ", ".join(chosen)


def _version(text: str) -> Version:
    parts = text.strip().split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) and text.strip() != "0" else ()


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
