"""All settings of Relay: environment variables `RELAY_*`, checked when a process starts. Names include the unit."""

from functools import cache

from pydantic import ValidationError

from relay_core.settings.api import ApiSettings
from relay_core.settings.containers import ContainerSettings
from relay_core.settings.deployment import DeploymentSettings
from relay_core.settings.execution import ExecutionSettings, LimitSettings
from relay_core.settings.git import GitSettings
from relay_core.settings.images import ImageSettings
from relay_core.settings.node import NodeSettings
from relay_core.settings.secrets import SecretSettings
from relay_core.settings.storage import StorageSettings


class Settings(
    # in reverse: pydantic lists the fields of the last base class first
    DeploymentSettings,
    ImageSettings,
    LimitSettings,
    ExecutionSettings,
    ContainerSettings,
    NodeSettings,
    SecretSettings,
    GitSettings,
    ApiSettings,
    StorageSettings,
):
    """The settings of a process: one class for API, worker, Flower and migrations, so that they cannot disagree.

    Raises:
        pydantic.ValidationError: a value is out of bounds or of the wrong type.
    """


def wrong_settings(error: ValidationError) -> str:
    """Return a message that lists the wrong environment variables, without their values (one may be a password)."""
    return "; ".join(
        f"RELAY_{'_'.join(map(str, found['loc'][:1])).upper()}: {found['msg']}"
        for found in error.errors()
        if found["type"] != "default_factory_not_called"  # follows from another setting that is wrong and is listed
    )


@cache
def get_settings() -> Settings:
    """Return the settings of this process, read from the environment at the first call."""
    return Settings()
