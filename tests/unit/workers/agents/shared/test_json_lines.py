"""Lines that would take more memory than they are worth."""

import json

from relay_workers.agents.shared.json_lines import BIG_LINE_BYTES, MAX_VALUES, JsonLines


def read(line: bytes) -> list[dict]:
    return list(JsonLines().feed(line + b"\n"))


def test_a_long_line_of_countless_values_is_passed_over():
    line = b'{"a":[' + b",".join([b"[]"] * MAX_VALUES) + b"]}" + b" " * BIG_LINE_BYTES
    assert read(line) == []
    assert read(b'{"b":1}') == [{"b": 1}]


def test_a_long_text_counts_as_one_value_whatever_is_in_it():
    text = 'a,[{"\\' * (BIG_LINE_BYTES // 4)
    assert read(json.dumps({"a": text}).encode()) == [{"a": text}]
