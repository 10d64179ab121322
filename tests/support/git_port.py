"""The git port on the fake and on real git, with the same remote: one fixture, two implementations."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay_core.settings import Settings
from relay_workers.git.port import Git
from relay_workers.testing.fake_git import FakeGit
from tests.support.git_bench import Bench

pytest_plugins = ["tests.support.git_fixtures"]

FILES = {"README": b"hello\n", "src/a.py": b"print(1)\n", "src/b.py": b"print(2)\n"}


class FakeBench(Bench):
    """A bench whose service is the fake."""

    @property
    def service(self) -> Git:
        return self.tool


@dataclass
class GitPort:
    """A node's git and a remote with the branches ``main``, which has `FILES`."""

    bench: Bench
    url: str
    head: str


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GitPort]:
    if request.param == "real":
        remote = request.getfixturevalue("remote")
        head = remote.commit({name: content.decode() for name, content in FILES.items()})
        yield GitPort(request.getfixturevalue("bench"), remote.url, head)
        return
    settings = Settings(data_dir=tmp_path / "data", git_allow_file=True)
    fake = FakeGit(settings.data_dir, settings.remote_policy)
    url = f"file://{tmp_path}/remote"
    yield GitPort(FakeBench(settings, fake), url, fake.add_remote(url, "main", FILES))
