"""The system account that Postgres runs as when Relay runs as root, because Postgres refuses to run as root."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.services.process import Account

ACCOUNT_NAME = "relay-postgres"


def postgres_account() -> Account | None:
    """Return the account for Postgres; create it if it is missing.

    None if this process does not run as root: then Postgres runs as the current user.

    Raises:
        StackProblem: the account is missing and cannot be created.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        entry = _make_account()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_account() -> pwd.struct_passwd:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise StackProblem(
            f"Postgres does not run as root, and this machine has no useradd that could make an account for it. "
            f"Make a system user named {ACCOUNT_NAME}, or run Relay as another user than root."
        )
    command = (program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT_NAME)
    note(f"Making the system user {ACCOUNT_NAME}, because Postgres does not run as root")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return pwd.getpwnam(ACCOUNT_NAME)  # whatever useradd returned: another process may have created the account
    except KeyError:
        raise StackProblem(f"Cannot make the system user {ACCOUNT_NAME}: {done.stderr.strip()}") from None


def first_closed_folder(path: Path, account: Account) -> Path | None:
    """Return the outermost folder among `path` and its parents that `account` cannot enter; None if it can enter all.

    Only owner, group and mode are checked, not access control lists.
    """
    resolved = path.resolve()
    for folder in (*reversed(resolved.parents), resolved):
        if not folder.is_dir():
            break
        facts = folder.stat()
        bit = (
            stat.S_IXUSR
            if facts.st_uid == account.uid
            else stat.S_IXGRP
            if facts.st_gid == account.gid
            else stat.S_IXOTH
        )
        if not facts.st_mode & bit:
            return folder
    return None
