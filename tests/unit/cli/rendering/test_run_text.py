"""Tables, pages and summaries of runs: at 80 and 120 cells, without a terminal, with and without colours."""

import re
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from relay_cli.rendering import run_page, run_table, units
from relay_cli.rendering.style import Style, fitted, shortened
from tests.support.run_json import SOURCE, failed_json, run_json, step_json

NOW = datetime(2026, 11, 26, 8, 5, tzinfo=UTC)
EVIL = "x\x1b]0;t\x07\x1b[2J\x9b2J\u202ey\rrelay: fine\nnext 日本語 " + "long " * 30
HARMLESS = re.compile(r"(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x1b\[[0-9;]*m)*")
CODES = re.compile(r"\x1b\[[0-9;]*m")
API = "http://127.0.0.1:8700"


def plain(text: str) -> str:
    return CODES.sub("", text)


def some_runs() -> list[dict]:
    step = {"execution_id": "e", "run_reason": "coding_agent", "repo": None, "status": "running"}
    waits = {"ahead": 0, "waits_for": [], "waits": "no node has room (27.9 of 25.3 GiB promised)"}
    return [
        run_json(),
        failed_json(title="A title that is longer than any table of eighty cells has room for"),
        run_json(status="running", conclusion=None, current_step=step, completed_at=None),
        run_json(status="queued", conclusion=None, started_at=None, completed_at=None, queue=waits),
    ]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("colour", [False, True])
def test_a_table_of_runs_fits_and_has_a_line_for_each(width, colour):
    lines = run_table.run_lines(some_runs(), NOW, Style(colour, width))
    assert max(cell_len(plain(line)) for line in lines) <= width
    assert plain(lines[0]).split() == ["ID", "TITLE", "REPO", "STEP", "STATUS", "AGE", "TOOK"]
    assert len(lines) == 6
    assert plain(lines[1]).split() == [
        *("3f2a91bc", "Count", "the", "files", "app", "-", "success", "5m", "33s"),
    ]
    assert plain(lines[5]) == "waits: no node has room (27.9 of 25.3 GiB promised) (3f2a91bc)"
    assert any(CODES.search(line) for line in lines) is colour


def test_without_a_terminal_a_table_is_not_cut():
    lines = run_table.run_lines(some_runs(), NOW, Style())
    assert "longer than any table of eighty cells has room for" in lines[2]
    assert not CODES.search("".join(lines))
    assert not any(line.endswith(" ") for line in lines)


def test_a_table_without_rows_is_its_heading():
    assert run_table.run_lines([], NOW, Style(width=80)) == ["ID  TITLE  REPO  STEP  STATUS  AGE  TOOK"]


def test_steps_show_both_clocks():
    steps = [step_json(), step_json(status="queued", started_at=None, completed_at=None, exit_code=None)]
    lines = run_table.step_lines(steps, NOW, Style())
    assert lines[1].split() == ["a6e41bc0", "coding_agent", "-", "completed", "0", "0.1s", "30s"]
    assert lines[2].split() == ["a6e41bc0", "coding_agent", "-", "queued", "-", "4m57s", "-"]


def test_the_header_names_the_run_its_ids_and_its_page():
    assert run_page.header(run_json(), API) == (
        "run 3f2a91bc · Count the files\n"
        "app@main · claude-code · workspace fc90ec5e · session 5e551077\n"
        "http://127.0.0.1:8700/runs/3f2a91bc-0000-4000-8000-000000000001"
    )


def test_the_summary_of_a_success():
    assert run_page.summary(run_json(), Style()) == (
        "run 3f2a91bc succeeded in 34s (queue 0.2s, start 3.0s, run 30s)\n"
        "2 files, +10 -3 · branch vk-3f2a-count-the-files\n"
        "used 1,200 tokens in (and 30,000 cached), 400 out · $0.0123\n"
        'next: relay diff 3f2a91bc · relay fetch 3f2a91bc · relay follow-up 3f2a91bc "…"'
    )
    nothing = {"files": 0, "insertions": 0, "deletions": 0}
    assert "\nno changes\n" in run_page.summary(run_json(stat=nothing), Style())


def test_the_summary_of_a_failure_says_where_why_and_what_to_do():
    assert run_page.summary(failed_json(), Style()) == (
        "run 3f2a91bc failed in setup_script of app (exit code 3) in 34s (queue 0.2s, start 3.0s, run 30s)\n"
        "why: the setup script exited with 3 [exit_code]\n"
        "what to do: Read the log of the step, mend it, and run again.\n"
        "next: relay logs 5e70b1c2 · relay rerun 3f2a91bc"
    )


@pytest.mark.parametrize(
    ("conclusion", "words"),
    [
        ("success", "succeeded"),
        ("failure", "failed"),
        ("cancelled", "was cancelled"),
        ("timed_out", "timed out"),
        ("lost", "was lost"),
    ],
)
def test_every_conclusion_has_words(conclusion, words):
    assert f"run 3f2a91bc {words} " in run_page.summary(run_json(conclusion=conclusion), Style())
    coloured = run_page.summary(run_json(conclusion=conclusion), Style(colour=True))
    assert f"m{words}\x1b[0m" in coloured


def test_a_page_shows_fields_steps_and_advice():
    lines = run_page.page(failed_json(), [step_json(status="failed", exit_code=3)], NOW, Style(width=80), API)
    text = "\n".join(lines)
    assert lines[0] == "Count the files  failure"
    for words in (
        "run         3f2a91bc-0000-4000-8000-000000000001 (job)",
        "repository  https://git.example.org/team/app.git from main at 111111111111\n",
        "executor    claude-code in relay-claude-code:latest",
        "created     5m ago by alice",
        "labels      team=core",
        "page        http://127.0.0.1:8700/runs/3f2a91bc",
        "why: the setup script exited with 3 [exit_code]",
        "what to do: Read the log",
    ):
        assert words in text
    assert lines[-1] == "next: relay logs 5e70b1c2 · relay rerun 3f2a91bc"
    assert "waits" not in text


@pytest.mark.parametrize(
    ("kind", "changed", "words"),
    [
        ("job", {"ref": "v1.2", "commit": "2" * 40}, "from v1.2 at 222222222222, for main"),
        ("job", {"ref": "main"}, "from main at 111111111111"),
        ("job", {"target_branch": None, "commit": None}, "from the default branch"),
        ("follow_up", {"ref": "v1.2"}, "from its branch at 111111111111, begun at v1.2, for main"),
        ("step", {"commit": None}, "from its branch, begun at main"),
    ],
)
def test_a_page_says_where_each_repository_came_from(kind, changed, words):
    other = {**SOURCE, "repo": "library", "url": "file:///srv/library.git", **changed}
    lines = run_page.page(run_json(kind=kind, sources=[SOURCE, other]), [], NOW, Style(), API)
    assert f"repo library  file:///srv/library.git {words}" in lines
    assert any(line.startswith("repo app      https://git.example.org/team/app.git from ") for line in lines)


def test_a_page_of_a_run_in_progress_says_what_it_waits_for():
    queue = {"ahead": 2, "waits_for": [], "waits": None}
    run = run_json(status="queued", conclusion=None, started_at=None, completed_at=None, timings={}, queue=queue)
    text = "\n".join(run_page.page(run, [], NOW, Style(), API))
    assert "waits       2 earlier steps of the workspace must end first" in text
    assert "next: relay watch 3f2a91bc · relay cancel 3f2a91bc" in text


def evil(value: object) -> object:
    """The same JSON with a hostile text in place of every text that is no timestamp and no id."""
    if isinstance(value, dict):
        return {name: evil(part) for name, part in value.items()}
    if isinstance(value, list):
        return [evil(part) for part in value]
    return EVIL if isinstance(value, str) and not re.match(r"\d{4}-|[0-9a-f]{8}-", value) else value


@pytest.mark.parametrize("style", [Style(), Style(width=80), Style(colour=True, width=80)])
def test_hostile_text_stays_text(style):
    run, step = evil(failed_json()), evil(step_json())
    table = run_table.run_lines([run], NOW, style)
    steps = run_table.step_lines([step], NOW, style)
    texts = [*table, *steps, *run_page.page(run, [step], NOW, style, API), run_page.header(run, API)]
    for text in [*texts, run_page.summary(run, style)]:
        assert HARMLESS.fullmatch(text.replace("\n", " ")), repr(text)
    assert [len(table), len(steps)] == [2, 2], "no text of a run makes a line of its own"


@pytest.mark.parametrize(
    ("seconds", "long", "old"),
    [
        *((0, "0.0s", "0s"), (9.96, "10s", "9s"), (59.7, "1m00s", "59s"), (125, "2m05s", "2m")),
        *((3720, "1h02m", "1h"), (273600, "3d04h", "3d"), (-3, "0.0s", "0s")),
    ],
)
def test_durations_and_ages(seconds, long, old):
    assert (units.duration(seconds), units.age(seconds)) == (long, old)


def test_bytes_counts_and_money():
    assert [units.byte_count(count) for count in (1, 12, 2 << 30, 3 << 29, 512 << 20)] == [
        *("1 byte", "12 bytes", "2 GiB", "1.5 GiB", "512 MiB"),
    ]
    assert (units.plural(1, "file"), units.plural(1200, "file")) == ("1 file", "1,200 files")
    assert (units.money(0.0123), units.money(12)) == ("$0.0123", "$12.00")


def test_wide_characters_are_cut_by_cells():
    assert [fitted("日本語", cells) for cells in (6, 7, 5, 4)] == ["日本語", "日本語 ", "日本…", "日 …"]
    assert shortened("abc", 3) == "abc"
