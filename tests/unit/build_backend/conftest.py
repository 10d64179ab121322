import shutil
from pathlib import Path

import pytest

from relay_build.project import Project

ROOT = Path(__file__).parents[3]
MAIN = """#include <stdio.h>
#include <string.h>

int main(int count, char **words)
{
    char line[64];
    if (count < 2 || strcmp(words[1], "--version") != 0)
        return 1;
    snprintf(line, sizeof line, "relay-pid1 %d", count);
    puts(line);
    return 0;
}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A checkout whose relay-pid1 is a few lines long."""
    monkeypatch.delenv("CC", raising=False)
    made = Project(tmp_path / "checkout")
    made.source_dir.mkdir(parents=True)
    (made.source_dir / "main.c").write_text(MAIN)
    made.zig_lock.parent.mkdir()
    shutil.copy(ROOT / "build_backend" / "ziglang.lock", made.zig_lock)
    return made
