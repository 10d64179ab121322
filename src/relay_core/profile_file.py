"""The agent profiles of a deployment: the built-in profiles, and those of its file."""

from relay_core.domain.agents.profiles import BUILT_IN, Profiles, overlay, parse
from relay_core.domain.errors import InvalidInput
from relay_core.settings import Settings


def load_profiles(settings: Settings) -> Profiles:
    """The built-in profiles, with those of RELAY_AGENTS_FILE laid over them.

    Raises:
        InvalidInput: the file cannot be read or is wrong; the message names the file and the place in it.
    """
    path = settings.agents_file
    if path is None:
        return BUILT_IN
    try:
        return overlay(BUILT_IN, parse(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        raise InvalidInput(f"RELAY_AGENTS_FILE {path}: {error}", field="agents_file") from error
