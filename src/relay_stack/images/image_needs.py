"""Check, before a build, that the user's image meets the requirements of the agents that will be added to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import docker

from relay_core.console.output import note
from relay_stack.errors import StackProblem

Version = tuple[int, ...]
OLDEST_GLIBC: Version = (2, 28)
"""Oldest version of glibc with which Node.js 22 and the agents' programs run."""

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
    """Requirements of one agent for the image that it is added to."""

    glibc: bool = False
    """Whether the agent needs glibc, OLDEST_GLIBC or newer."""
    node: bool = False
    """Whether the agent runs on Node.js, which is installed with the agent and needs libstdc++ in the image."""
    python: tuple[Version, Version | None] | None = None
    """Oldest and newest version of python3 that the agent runs on; a newest of None: every newer version. None if the
    agent does not need python3."""


def check_image(client: docker.DockerClient, image: str, agents: Mapping[str, Needs]) -> None:
    """Check that an image meets the agents' requirements; print a note if the image lacks git or certificates.

    The check runs a shell script in a container of the image.

    Args:
        client: client of the engine.
        image: tag of the image.
        agents: agent → its requirements.

    Raises:
        StackProblem: the image misses a requirement; the message says which agent has it, and what to do.
    """
    try:
        output = _output_of(client, image)
    except docker.errors.APIError as error:
        raise StackProblem(f"The image {image} has no /bin/sh that runs, which every step needs: {error}") from error
    facts = read_facts(output.decode(errors="replace"))
    if missing := lacks(facts, agents):
        raise StackProblem("\n".join(f"The image {image} {lack}" for lack in missing))
    for name, effect in (("git", "agents cannot commit"), ("certificates", "some agents cannot verify TLS")):
        if name not in facts:
            note(f"The image {image} has no {name}: {effect} until it does")


def _output_of(client: docker.DockerClient, image: str) -> bytes:
    """Return what the probe prints in a container of an image, which is removed even if it does not start."""
    container = client.containers.create(image, ["-c", _PROBE], entrypoint="/bin/sh", user="0", network_disabled=True)
    try:
        container.start()
        container.wait()
        printed: bytes = container.logs(stdout=True, stderr=False)
    finally:
        container.remove(force=True)
    return printed


def read_facts(output: str) -> dict[str, Version]:
    """Return the facts in the output of the probe script: name → version, or () if the fact has no version.

    If a name occurs several times, the last line counts.
    """
    pairs = (line.partition("=") for line in output.splitlines())
    return {name: _version(value) for name, _, value in pairs if name}


def lacks(facts: Mapping[str, Version], agents: Mapping[str, Needs]) -> list[str]:
    """Return the requirements that an image misses, each as the end of a sentence that begins with the image's name.

    Args:
        facts: the facts about the image that `read_facts` returns.
        agents: agent → its requirements.
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
