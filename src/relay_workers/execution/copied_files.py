"""Copies files that git does not have into a new clone: from a work tree on this node, or stored with a project."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from relay_core.domain import copy_files
from relay_core.domain.copy_files import MOST_FILES, Pattern
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.url import parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.stored_files import StoredFile, StoredFiles
from relay_workers.host_files.safe_dir import FileId, SafeDir, TamperedFile

MOST_LOOKS = 50_000
"""Most entries of the work tree that are looked at."""
MOST_PATH_BYTES = 64 << 10
"""Most bytes of the paths of all files that one repository's patterns copy."""
_MOST_TOLD = 20
"""Most files with unprintable names that the log tells of."""
Names = tuple[str, ...]


class _Work(NamedTuple):
    """The copying into one clone: to whom the copies belong, and who is told."""

    repo: WorkspaceRepoRow
    workspace_dir: Path
    owner: int | None
    log: StepLog


class _Target:
    """A clone into which files are written, within the limits of `copy_files`."""

    def __init__(self, work: _Work, clone: SafeDir, most_bytes: int) -> None:
        self._work, self._clone, self._most = work, clone, most_bytes
        self._names_left = MOST_PATH_BYTES
        self.left = most_bytes
        self.copied: list[str] = []

    def check_count(self) -> None:
        """Raise `clone_failed` if no further file may be written."""
        if len(self.copied) == MOST_FILES:
            message = f"copy_files of {self._work.repo.name} match more than {MOST_FILES} files"
            raise StepFailed(Reason.CLONE_FAILED, message)

    def put(self, path: Names, data: bytes, *, executable: bool) -> None:
        """Write a file unless the clone has an entry of its name."""
        self.left -= len(data)
        if self.left < 0:
            shown = "/".join(path)
            message = (
                f"the files of copy_files have more than {self._most} bytes with {shown} (RELAY_COPY_FILES_MAX_BYTES)"
            )
            raise StepFailed(Reason.CLONE_FAILED, message)
        if _put(self._clone, path, data, self._work.owner, executable=executable):
            self.copied.append("/".join(path))
            self._names_left -= len(self.copied[-1].encode()) + 1
        if self._names_left < 0:
            message = f"the paths of the files of copy_files have more than {MOST_PATH_BYTES} bytes together"
            raise StepFailed(Reason.CLONE_FAILED, message)


class CopiedFiles:
    """Copies files into clones: from the work tree of a repository on this node, then those stored with the project.

    Args:
        settings: bounds, and the data directory, from which nothing is copied.
        stored: files that are stored with projects; None: there are none.
    """

    def __init__(self, settings: Settings, stored: StoredFiles | None = None) -> None:
        self._settings = settings
        self._stored = stored

    def copy(
        self, project_id: UUID, repo: WorkspaceRepoRow, workspace_dir: Path, uid: int, log: StepLog
    ) -> tuple[str, ...]:
        """Copy the files of a repository that git does not have into its clone, and return their paths there.

        Of the work tree, regular files with one link are copied that match the patterns, with their content and whether
        they can be executed; of the stored files those that match, or all if there is no pattern. No link is followed,
        neither in the work tree nor in the clone. What the clone has already stays as it is.

        Args:
            project_id: the project of the workspace.
            repo: the repository.
            workspace_dir: directory of the workspace on this host.
            uid: the user to whom the copies belong.
            log: gets a line for each file that is left out, and one for those that were copied.

        Raises:
            StepFailed: `clone_failed`: a pattern is wrong, the files are too many or too large, a stored one cannot be
                decrypted, or a link of the clone is in the way.
        """
        try:
            patterns = copy_files.parse(repo.copy_files)
        except InvalidInput as error:
            raise StepFailed(Reason.CLONE_FAILED, f"copy_files of {repo.name}: {error}") from error
        source = self._work_tree(repo) if patterns else None
        stored = self._stored.of(project_id, repo.repo_id) if self._stored is not None else []
        if source is None and not stored:
            return tuple(repo.copied_files)
        owner = uid if os.geteuid() == 0 else None
        try:
            copied = self._copy_all(_Work(repo, workspace_dir, owner, log), source, patterns, stored)
        except (TamperedFile, OSError) as error:
            message = f"a file of copy_files cannot be written into the clone of {repo.name}: {error}"
            raise StepFailed(Reason.CLONE_FAILED, message) from error
        log.say(f"copied {len(copied)} files that git does not have: {', '.join(copied) or 'none matched'}")
        return tuple(sorted({*repo.copied_files, *copied}))

    def _copy_all(
        self, work: _Work, source: Path | None, patterns: Sequence[Pattern], stored: Sequence[StoredFile]
    ) -> list[str]:
        with SafeDir.open(work.workspace_dir, "repos", work.repo.name) as clone:
            target = _Target(work, clone, self._settings.copy_files_max_bytes)
            if source is not None:
                self._copy_tree(source, patterns, target, work.log)
            for file in stored:
                if patterns and not any(copy_files.matches(each, file.path) for each in patterns):
                    work.log.say(f"{'/'.join(file.path)} is not copied: no pattern of copy_files matches it")
                    continue
                target.check_count()
                target.put(file.path, file.content, executable=file.executable)
            if target.copied:
                _ignore(clone, sorted({*work.repo.copied_files, *target.copied}), work.owner)
        return sorted(target.copied)

    def _copy_tree(self, source: Path, patterns: Sequence[Pattern], target: _Target, log: StepLog) -> None:
        told = 0
        with SafeDir.open(source) as root:
            for path in _found(root, patterns, self._data_directory()):
                if not all(name.isprintable() for name in path):
                    told += 1
                    if told <= _MOST_TOLD:
                        log.say(f"{'/'.join(path)!a} is not copied: its name is not printable")
                    continue
                target.check_count()
                data, executable = _read(root, path, target.left, log)
                if data is not None:
                    target.put(path, data, executable=executable)

    def _work_tree(self, repo: WorkspaceRepoRow) -> Path | None:
        """Return the work tree of a repository on this node; None for any other remote, and without a work tree."""
        url = parse_git_url(repo.url, self._settings.remote_policy)
        if url.scheme != "file":
            return None
        root = Path(url.path).resolve()
        inside = root.is_relative_to(self._settings.data_dir.resolve())
        return root if (root / ".git").exists() and not inside else None

    def _data_directory(self) -> FileId:
        status = self._settings.data_dir.stat()
        return FileId(status.st_dev, status.st_ino)


def _read(root: SafeDir, path: Names, left: int, log: StepLog) -> tuple[bytes | None, bool]:
    """Return the content of a file, at most a byte more than is left, and whether it can be executed.

    None: it is no file to copy.
    """
    shown = "/".join(path)
    try:
        with _directory(root, path[:-1]) as parent:
            fd, _ = parent.open_file(path[-1])
    except (TamperedFile, OSError) as error:
        log.say(f"{shown} is not copied: {error}")
        return None, False
    with os.fdopen(fd, "rb") as file:
        return file.read(left + 1), bool(os.fstat(fd).st_mode & stat.S_IXUSR)


def _found(root: SafeDir, patterns: Sequence[Pattern], data_directory: FileId) -> Iterator[Names]:
    """Yield the paths that match, in order.

    Directories that are links, `.git`, Relay's own data, and directories whose names are not printable are not entered;
    a path that ends with such a name is yielded, to say so.
    """
    looks = 0
    due: list[Names] = [()]
    while due:
        here = due.pop()
        with suppress(TamperedFile, OSError), _directory(root, here) as directory:
            for name in sorted(directory.names(), reverse=True):
                looks += 1
                if looks > MOST_LOOKS:
                    message = f"copy_files look at more than {MOST_LOOKS} files and directories; name them more exactly"
                    raise StepFailed(Reason.CLONE_FAILED, message)
                path = (*here, name)
                if name.lower() == ".git" or '"' in name:
                    continue
                status = os.lstat(name, dir_fd=directory.fileno())
                if not stat.S_ISDIR(status.st_mode):
                    if any(copy_files.matches(each, path) for each in patterns):
                        yield path
                elif (status.st_dev, status.st_ino) != data_directory and _may_lead(patterns, path):
                    if name.isprintable():
                        due.append(path)
                    else:
                        yield path


def _may_lead(patterns: Sequence[Pattern], path: Names) -> bool:
    return any(copy_files.may_lead_to(each, path) for each in patterns)


def _directory(root: SafeDir, names: Names) -> SafeDir:
    """Open a directory below another one, one name after the other."""
    here = SafeDir(os.dup(root.fileno()), root.path)
    for name in names:
        with here:
            here = here.sub(name)
    return here


def _ignore(clone: SafeDir, paths: Sequence[str], owner: int | None) -> None:
    """Let git in the clone ignore the copies, so that a step which adds all files to the index does not add them."""
    lines = ["/" + re.sub(r"([\\*?\[\]#! ])", r"\\\1", path) for path in paths]
    with _directory(clone, (".git", "info")) as info:
        info.write_file("exclude", "".join(f"{line}\n" for line in lines).encode(), owner)


def _put(clone: SafeDir, path: Names, data: bytes, owner: int | None, *, executable: bool) -> bool:
    """Write a file into the clone unless an entry of its name is there; return whether it was written."""
    here = SafeDir(os.dup(clone.fileno()), clone.path)
    for name in path[:-1]:
        with here:
            made = here.make_directory(name)
            here = here.sub(name)
            if made and owner is not None:
                os.fchown(here.fileno(), owner, -1)
    with here:
        if here.exists(path[-1]):
            return False
        here.write_file(path[-1], data, owner, 0o755 if executable else 0o644)
        return True
