"""Settings of agent profiles, Flower and the logs of Relay's own processes."""

from pathlib import Path

from pydantic import Field

from relay_core.settings.base import SettingsGroup


class DeploymentSettings(SettingsGroup):
    """Choices that an operator makes once for a deployment."""

    agents_file: Path | None = Field(
        None,
        description="TOML file of agent profiles that are laid over the built-in ones (docs/agents.md). Give it to the "
        "API.",
    )
    session_profiles_file: Path | None = Field(
        None,
        description="TOML file of session profiles, which runs and workspaces may name (docs/agents.md). Give it to "
        "the API.",
    )
    flower_port: int = Field(5555, ge=1, le=65535, description="TCP port of the local stack's Flower.")
    flower_url: str | None = Field(
        None,
        pattern="^https?://[^\\s\"'<>]+$",
        description="URL under which people reach Flower; the API's page links to the tasks there. The local stack "
        "sets it for its own Flower.",
    )
    flower_user: str = Field("relay", description="Name to log in to Flower with.")
    flower_password: str | None = Field(
        None, description="Password to log in to Flower with. Unset, the local stack makes one."
    )
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Least severe level of lines that Relay's processes log.",
    )
