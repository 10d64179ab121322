"""A hash of everything in a directory: names, types, modes, owners, contents and targets of links."""

import hashlib
import os
import stat
from pathlib import Path


def tree_hash(root: Path) -> str:
    """Return a hash of the tree, which may be deeper than a path can be long; no link in it is followed."""
    found = hashlib.sha256()
    for parent, directories, files, fd in os.fwalk(root, follow_symlinks=False):
        directories.sort()
        for name in sorted([*directories, *files]):
            facts = os.lstat(name, dir_fd=fd)
            told = [os.path.relpath(parent, root), name, facts.st_mode, facts.st_uid, facts.st_gid]
            if stat.S_ISLNK(facts.st_mode):
                told.append(os.readlink(name, dir_fd=fd))
            elif stat.S_ISREG(facts.st_mode):
                told.append(_digest(name, fd))
            found.update(repr(told).encode(errors="surrogateescape"))
    return found.hexdigest()


def _digest(name: str, directory: int) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
