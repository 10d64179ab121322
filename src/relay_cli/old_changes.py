"""Remove the refs of uncommitted work that was sent along with runs long ago.

A run needs the ref until its clone has fetched it; a rerun of the run needs it again.
"""

import time
from pathlib import Path

from relay_cli.errors import CommandFailed
from relay_cli.local_git import run

REFS = "refs/relay/changes"
SETTING = "relay.keepChangesDays"
"""Name of the setting of git (`git config`) for the days after which a ref is removed; 0 keeps all refs."""
DEFAULT_DAYS = 30
_DAY_SECONDS = 86400


def prune(root: Path) -> int:
    """Remove the refs below `REFS` whose commits are older than the repository's setting; return how many.

    A ref that another process has changed or removed meanwhile is left to that process: then none is removed.

    Raises:
        CommandFailed: the setting is no number of days.
    """
    days = _days(root)
    if days == 0:
        return 0
    listed = run(root, "for-each-ref", "--format=%(committerdate:unix) %(objectname) %(refname)", f"{REFS}/")
    refs = [line.split(" ", 2) for line in listed.stdout.decode("utf-8", "surrogateescape").splitlines()]
    oldest = time.time() - days * _DAY_SECONDS
    old = [(commit, ref) for created, commit, ref in refs if created and int(created) < oldest]
    if not old:
        return 0
    commands = "".join(f"delete {ref} {commit}\n" for commit, ref in old)
    done = run(root, "update-ref", "--stdin", stdin=commands.encode("utf-8", "surrogateescape"))
    return 0 if done.returncode else len(old)


def _days(root: Path) -> int:
    text = run(root, "config", "--get", SETTING).stdout.decode("utf-8", "replace").strip()
    if not text:
        return DEFAULT_DAYS
    if not (text.isascii() and text.isdigit()):
        raise CommandFailed(f"the setting {SETTING} of git in {root} is {text!r}; write a number of days, or 0", 2)
    return int(text)
