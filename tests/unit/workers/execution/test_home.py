"""What is removed of a home when an agent's turn has ended."""

from pathlib import Path

from relay_workers.execution.home import remove_snapshots


def test_snapshots_of_a_shell_go_and_nothing_else(tmp_path: Path):
    kept = tmp_path / "home/.codex/sessions/rollout.jsonl"
    for path in (kept, tmp_path / "home/.codex/shell_snapshots/1.sh", tmp_path / "home/.claude/shell-snapshots/1.sh"):
        path.parent.mkdir(parents=True)
        path.write_text("export KEY=…\n")
    remove_snapshots(tmp_path)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == [kept]
    remove_snapshots(tmp_path)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    home = tmp_path / "workspace/home"
    (home / ".codex").mkdir(parents=True)
    (home / ".codex/shell_snapshots").symlink_to(outside)
    (home / ".claude").symlink_to(outside)
    remove_snapshots(tmp_path / "workspace")
    assert (outside / "file").exists()
