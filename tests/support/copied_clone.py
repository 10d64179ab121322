"""A clone that the git container made once, and copies of it: for tests of what happens to a clone later."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.git_bench import Bench, Remote, Workspace, store_of


@dataclass(frozen=True)
class MadeClone:
    """A clone that the git container made, and its remote."""

    bench: Bench
    remote: Remote
    workspace: Workspace

    def copy_remote(self, path: Path) -> Remote:
        _copy(self.remote.path, path)
        return Remote(path)

    def copy(self, bench: Bench, remote: Remote) -> Workspace:
        """Copy clone, mirror and store into another data directory, as if they had been made there from ``remote``."""
        made, workspace = self.workspace, bench.workspace()
        assert made.result is not None
        mirror = bench.service.mirror_path(bench.project, remote.url)
        _copy(made.dir, workspace.dir)
        _copy(made.result.mirror_path, mirror)
        store = store_of(self.bench, made).path
        if store.exists():
            _copy(store, store_of(bench, workspace).path)
        for repository in (workspace.clone / ".git", store_of(bench, workspace).path):
            if repository.exists():
                (repository / "objects/info/alternates").write_text(f"{mirror}/objects\n")
        for config in (workspace.clone / ".git/config", mirror / "config"):
            config.write_text(config.read_text().replace(str(self.remote.path), str(remote.path)))
        workspace.result = replace(made.result, mirror_path=mirror)
        workspace.output, workspace.commit = list(made.output), made.commit
        return workspace


def _copy(path: Path, to: Path) -> None:
    """Copy a directory with the owners, modes and times of all that is in it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", path, to], check=True)
