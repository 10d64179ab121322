"""The configuration that a new clone gets."""

import re

from relay_core.settings import Settings


def clone_config(url: str, settings: Settings) -> str:
    """Return the text of ``.git/config`` for a new clone: the remote ``origin`` and an author for commits.

    Args:
        url: address of the remote, without secrets.
        settings: settings with the name and email address of the author.
    """
    return "\n".join(
        (
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true",
            f'[remote "origin"]\n\turl = {_quoted(url)}\n\tfetch = +refs/heads/*:refs/remotes/origin/*',
            f"[user]\n\tname = {_quoted(settings.git_author_name)}\n\temail = {_quoted(settings.git_author_email)}",
        )
    )


def _quoted(value: str) -> str:
    return '"' + re.sub(r"[\x00-\x1f]", " ", value).replace("\\", "\\\\").replace('"', '\\"') + '"'
