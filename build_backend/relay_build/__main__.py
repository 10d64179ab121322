"""Builds relay-pid1 without building Relay: ``python -m relay_build [machine|release]`` in the repository."""

import sys
from pathlib import Path

from relay_build.binaries import ensure_for_machine, ensure_for_release
from relay_build.project import BuildError, Project


def main(words: list[str]) -> int:
    """Build for this machine, or for all architectures with the word ``release``; print the paths of the binaries."""
    project = Project(Path(__file__).parents[2])
    try:
        match words:
            case [] | ["machine"]:
                paths = [ensure_for_machine(project)]
            case ["release"]:
                paths = ensure_for_release(project)
            case _:
                sys.stderr.write("usage: python -m relay_build [machine|release]\n")
                return 2
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
