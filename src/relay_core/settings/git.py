"""Settings of remotes, clones, mirrors and the git state that is recorded after each step (the git evidence)."""

from pathlib import Path

from pydantic import Field, field_validator

from relay_core.domain.forges import Forges
from relay_core.domain.git.excludes import DEFAULT_EXCLUDES
from relay_core.domain.git.url import RemotePolicy
from relay_core.settings.base import SettingsGroup, Words


class GitSettings(SettingsGroup):
    """Which remotes may be cloned, and how much time, memory and disk git may use."""

    git_allow_http: bool = Field(
        default=False,
        description="Whether `http://` remotes may be cloned; `https://` always may. Their content can be read and "
        "changed on the way.",
    )
    git_allow_file: bool = Field(
        default=False,
        description="Whether `file://` remotes and absolute paths may be cloned: directories of the node outside of "
        "the data directory. Set it on a machine of your own only.",
    )
    git_allow_git_protocol: bool = Field(
        default=False,
        description="Whether `git://` remotes may be cloned. Their content can be read and changed on the way.",
    )
    git_allow_private_hosts: bool = Field(
        default=False,
        description="Whether remotes, and registries of images that a client names, may have loopback, private, "
        "link-local and reserved addresses and internal names. Set it when your git server is in a private network.",
    )
    git_allowed_hosts: Words = Field(
        (),
        description="Names of hosts that remotes may have, or `*.example.com`; empty allows any host. Set it to keep "
        "clients to your own git server.",
    )
    git_ssh_key_file: Path | None = Field(
        None, description="File with the private key for `ssh` remotes; the same key for all projects of this node."
    )
    git_author_name: str = Field(
        "Relay", description="Author's name of commits that Relay makes, and default author in containers."
    )
    git_author_email: str = Field("relay@localhost", description="Mail address that belongs to that name.")
    branch_prefix: str = Field(
        "vk-",
        max_length=40,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9/_-]*$",
        description="Beginning of the name of each workspace's branch.",
    )
    clone_timeout_seconds: float = Field(
        300,
        gt=0,
        le=24 * 3600,
        description="Seconds that fetch and checkout of one repository may take together. Raise it for large "
        "repositories or slow remotes.",
    )
    git_container_timeout_seconds: float = Field(
        120,
        gt=0,
        le=3600,
        description="Seconds that one command in the git container may take. Raise it when evidence of large work "
        "trees is missing.",
    )
    git_container_memory_bytes: int = Field(
        1 << 30,
        ge=64 << 20,
        description="Memory limit of the git container in bytes. Raise it when git is killed on large repositories.",
    )
    evidence_pack_max_bytes: int = Field(
        256 << 20,
        ge=1 << 20,
        description="Largest pack in bytes that the host takes from the git container after a step. A larger one is "
        "not stored, and the evidence says so.",
    )
    git_host_memory_bytes: int = Field(
        4 << 30,
        ge=256 << 20,
        description="Most address space in bytes of a git process on the host. Raise it when fetches of large "
        "repositories fail for lack of memory.",
    )
    mirror_max_bytes: int = Field(
        40 << 30,
        ge=1 << 20,
        description="Largest mirror of one remote in bytes; a mirror never shrinks. Clones of a larger remote fail.",
    )
    mirror_max_pack_bytes: int = Field(
        20 << 30, ge=1 << 20, description="Largest pack in bytes that one fetch may bring. A larger fetch fails."
    )
    checkout_max_bytes: int = Field(
        20 << 30,
        ge=1 << 20,
        description="Largest work tree in bytes that is checked out. A larger one fails the clone.",
    )
    copy_files_max_bytes: int = Field(
        10 << 20,
        ge=0,
        le=1 << 30,
        description="Most bytes of all files that a clone gets by `copy_files`; more end the clone as `clone_failed`.",
    )
    stored_file_max_bytes: int = Field(
        1 << 20,
        ge=1,
        le=64 << 20,
        description="Largest file in bytes that can be stored with a project, for clones. A larger one needs a larger "
        "`RELAY_API_MAX_BODY_BYTES`, too: base64 has 4 bytes for 3.",
    )
    stored_files_max_bytes: int = Field(
        4 << 20,
        ge=1,
        le=1 << 30,
        description="Most bytes of all files that are stored with one project. What one clone gets is limited by "
        "`RELAY_COPY_FILES_MAX_BYTES`, too.",
    )
    checkout_max_files: int = Field(
        1_000_000, ge=1, description="Most files and directories of a work tree that is checked out."
    )
    patch_max_bytes: int = Field(
        4 << 20,
        ge=1024,
        description="Largest patch of one repository in bytes that is stored after a step. A longer one is cut, and "
        "its statistics say `truncated`.",
    )

    bundle_max_bytes: int = Field(
        32 << 20,
        ge=1024,
        le=512 << 20,
        description="Largest git bundle of one repository in bytes that is stored after a step, for `relay fetch`. "
        "Where a larger one would be needed, there is none, and the answer says so.",
    )
    auto_commit_excludes: Words = Field(
        DEFAULT_EXCLUDES,
        description="Patterns as in `.gitignore`: new files that match are in no commit and no diff of Relay; the "
        "execution names them. A `.gitignore` of the repository decides first (`!dist/` takes files in again), and "
        "files that git tracks are never left out. `none` leaves nothing out.",
    )

    forges: Words = Field(
        (),
        description="Hosts of remotes whose pull requests Relay can open, and their APIs: `HOST=KIND:API_URL` each, "
        "with the kind `github` or `gitlab`, such as `git.example.org=gitlab:https://git.example.org/api/v4`; `file` "
        "stands for local remotes. github.com and gitlab.com are known.",
    )
    pull_request_poll_seconds: float = Field(
        60.0, ge=1, le=86400, description="Seconds between two questions about the status of one open pull request."
    )

    @field_validator("forges")
    @classmethod
    def _known_kinds(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        Forges(entries)
        return entries

    @property
    def excludes(self) -> tuple[str, ...]:
        """The patterns of new files that Relay neither commits nor shows, without the word that stands for none."""
        return tuple(pattern for pattern in self.auto_commit_excludes if pattern != "none")

    @property
    def remote_policy(self) -> RemotePolicy:
        """The policy that decides which remotes may be cloned, built from these settings."""
        return RemotePolicy(
            allow_http=self.git_allow_http,
            allow_git_protocol=self.git_allow_git_protocol,
            allow_file=self.git_allow_file,
            allow_private_hosts=self.git_allow_private_hosts,
            allowed_hosts=self.git_allowed_hosts,
        )
