"""Load the profiles of a deployment: of agents (RELAY_AGENTS_FILE), of sessions (RELAY_SESSION_PROFILES_FILE)."""

from relay_core.domain import session_profiles
from relay_core.domain.agents.profiles import BUILT_IN, Profiles, overlay, parse
from relay_core.domain.errors import InvalidInput
from relay_core.domain.session_profiles import SessionProfiles
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


def load_session_profiles(settings: Settings) -> SessionProfiles:
    """Return the profiles in RELAY_SESSION_PROFILES_FILE by name; none without such a file.

    Raises:
        InvalidInput: the file cannot be read or is wrong; the message names the file and the place in the file.
    """
    path = settings.session_profiles_file
    if path is None:
        return {}
    try:
        return session_profiles.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        message = f"RELAY_SESSION_PROFILES_FILE {path}: {error}"
        raise InvalidInput(message, field="session_profiles_file") from error
