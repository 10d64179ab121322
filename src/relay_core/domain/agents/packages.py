"""The packages that agents are installed from."""

from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, ...]


class Runtime(StrEnum):
    """The program that runs an agent, which its image must have or get."""

    NATIVE = "native"
    """None: the package holds a program for glibc."""
    NODE = "node"
    """Node.js, which is installed with the agent."""
    PYTHON = "python"
    """The python3 of the image."""


@dataclass(frozen=True)
class AgentPackage:
    """The package of an agent's program.

    From it follow the advice about an image without the program, the agents of `relay image build` with their needs,
    and the image that a run takes if nothing names one.
    """

    names: str
    """The package as its installer names it; several, separated by spaces, if the agent needs more than one."""
    runtime: Runtime
    newest_python: Version | None = None
    """Newest version of python3 that the agent runs on; None: every newer version."""

    @property
    def install_command(self) -> str:
        """The shell command that installs the agent in an image that a user builds without Relay."""
        installer = "pip install" if self.runtime is Runtime.PYTHON else "npm install -g"
        return f"{installer} {self.names}"
