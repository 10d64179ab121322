"""Settings of the container engine, of images, and of workspace containers."""

from pathlib import Path

from pydantic import Field, field_validator

from relay_core.settings.base import SettingsGroup, Words


class ContainerSettings(SettingsGroup):
    """Which engine and images are used, and how workspace containers are made."""

    docker_host: str | None = Field(
        None,
        description="Address of the Docker API. Unset, `DOCKER_HOST`, then the usual sockets of Docker, rootless "
        "Docker and Podman are tried.",
    )
    engine_patience_seconds: float = Field(
        300,
        ge=0,
        le=24 * 3600,
        description="Seconds for which a call to a container engine that does not answer is repeated. Raise it when a "
        "restart of your engine takes longer.",
    )
    default_image: str = Field(
        "relay-base:latest", description="Image of a workspace where neither the request nor its project names one."
    )
    git_image: str = Field("relay-git:latest", description="Image of the git container.")
    allowed_images: Words = Field(
        (),
        description="Patterns (as of `fnmatch`) of images that a request may name; empty allows any image. Set it to "
        "keep clients to images that you have chosen.",
    )
    image_pull_timeout_seconds: float = Field(
        1800, gt=0, le=24 * 3600, description="Seconds that the pull of one image may take."
    )
    image_max_bytes: int = Field(
        20 << 30, ge=1 << 20, description="Largest image in bytes that is pulled, counted as downloaded."
    )
    container_uid: int | None = Field(
        None,
        ge=0,
        description="Uid of the processes of all workspaces for which neither the request nor the image names a user. "
        "Unset, a worker of root gives each such workspace a uid of its own (`RELAY_CONTAINER_UIDS`), and any other "
        "worker uses its own uid.",
    )
    container_uids: str = Field(
        "70000-99999",
        pattern=r"^\d{1,10}-\d{1,10}$",
        description="First and last uid of the range for workspaces with a uid of their own. Change it when the range "
        "meets accounts of the host.",
    )
    container_network: str = Field(
        "relay",
        description="Name of the bridge network of all workspace containers, made without traffic between containers.",
    )
    container_env_passthrough: Words = Field(
        ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        description="Names of variables that every container gets from the worker's environment.",
    )
    ca_bundle: Path | None = Field(
        None,
        description="File with CA certificates that is mounted read-only into every container and named by the usual "
        "variables. Set it when a proxy or a server uses certificates of your own.",
    )

    @field_validator("container_uids")
    @classmethod
    def _is_range(cls, value: str) -> str:
        first, last = map(int, value.split("-"))
        if not 0 < first <= last < 2**31 - 1:
            raise ValueError("must be FIRST-LAST with 0 < FIRST <= LAST < 2147483647")
        return value

    @property
    def container_uid_range(self) -> range:
        """The range of uids from which a worker that runs as root gives each workspace a different one."""
        first, last = map(int, self.container_uids.split("-"))
        return range(first, last + 1)

    @property
    def trusted_images(self) -> tuple[str, ...]:
        """Images and patterns that the operator chose: registries of these images may always have private addresses."""
        return (*self.allowed_images, self.default_image, self.git_image)
