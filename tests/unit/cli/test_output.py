"""Cells of tables."""

import pytest

from relay_cli.output import cell_text, show, show_list


@pytest.mark.parametrize(
    ("value", "cell"), [(None, "-"), (0, "0"), ("a\x1b[2Jb", "ab"), (["x"], "['x']"), ("a\nb", "a b")]
)
def test_cells(value, cell):
    assert cell_text(value) == cell


def test_one_thing_is_shown_whole_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    show({"id": "x" * 70, "empty": None, "logs": {"sha256": "a" * 64}, "why": "one\ntwo"}, as_json=False)
    assert capsys.readouterr().out == f'id    {"x" * 70}\nlogs  {{"sha256": "{"a" * 64}"}}\nwhy   one\n      two\n'


def test_a_table_has_no_blanks_at_the_end_of_its_lines(capsys):
    show_list([{"a": "longer", "b": None}, {"a": "日本", "b": "value"}], ["a", "b"], as_json=False)
    assert capsys.readouterr().out == "a       b\nlonger  -\n日本    value\n"
