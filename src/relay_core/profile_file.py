"""Load the agent profiles of a deployment: the built-in profiles, overridden by those in RELAY_AGENTS_FILE."""

from relay_core.domain.agents.profiles import BUILT_IN, Profiles, overlay, parse
from relay_core.domain.errors import InvalidInput
from relay_core.settings import Settings


def load_profiles(settings: Settings) -> Profiles:
    """Return the built-in profiles, overridden by the profiles in RELAY_AGENTS_FILE.

    Raises:
        InvalidInput: the file cannot be read or is wrong; the message names the file and the place in the file.
    """
    path = settings.agents_file
    if path is None:
        return BUILT_IN
    try:
        return overlay(BUILT_IN, parse(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        raise InvalidInput(f"RELAY_AGENTS_FILE {path}: {error}", field="agents_file") from error
