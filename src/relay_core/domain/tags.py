"""Tags: named texts that prompts contain as `@name`, and how a prompt is completed with them."""

import re
from collections.abc import Mapping

TAG_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
"""Pattern of the name of a tag."""
MOST_CHARACTERS = 64 * 1024
"""Most characters of the content of one tag."""
_MENTION = re.compile(r"(?<![\w@./:+-])@([A-Za-z0-9][A-Za-z0-9_-]{0,62})(?![\w@/-]|\.\w)")
"""A name after `@` that stands for itself: not in an address (`ann@example.org`) or a package (`@types/node`)."""


def names_in(prompt: str) -> set[str]:
    """Return the names after `@` in a prompt that may be names of tags."""
    return {found[1] for found in _MENTION.finditer(prompt)} if "@" in prompt else set()


def expanded_size(prompt: str, contents: Mapping[str, str]) -> int:
    """Return how many characters `expanded` would return, without making the text: it may be huge."""
    found = _MENTION.finditer(prompt)
    return len(prompt) + sum(len(contents[each[1]]) - len(each[0]) for each in found if each[1] in contents)


def expanded(prompt: str, contents: Mapping[str, str]) -> str:
    """Return a prompt with the content of each tag in place of its mention.

    A content that mentions tags is inserted as it is, so that tags cannot contain each other without end.

    Args:
        prompt: the text of a client.
        contents: content by name; a mention of any other name stays.
    """
    return _MENTION.sub(lambda found: contents.get(found[1], found[0]), prompt)
