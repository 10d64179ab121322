"""Labels and metadata of a run, and merge patches of them."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.run_notes import check_labels, merged


@pytest.mark.parametrize(
    ("stored", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": 1}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": 1}, None, {}),
    ],
)
def test_a_merge_patch_is_that_of_rfc_7396(stored, patch, result):
    assert merged(stored, patch) == result


@pytest.mark.parametrize("name", ["", "a b", "-a", "a=b", "x" * 64])
def test_a_label_has_a_name_that_needs_no_quoting(name):
    with pytest.raises(InvalidInput, match="name of a label"):
        check_labels({name: "value"})
