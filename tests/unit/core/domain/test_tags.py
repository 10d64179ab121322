"""Tags in prompts."""

import pytest

from relay_core.domain.tags import expanded, expanded_size, names_in

CONTENTS = {"careful": "Run the tests.", "a-b": "AB", "loop": "again @loop and @careful"}


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ("@careful", "Run the tests."),
        ("mend it; @careful, please", "mend it; Run the tests., please"),
        ("(@careful) @a-b.", "(Run the tests.) AB."),
        ("one\n@careful\n@careful", "one\nRun the tests.\nRun the tests."),
        ("@unknown stays", "@unknown stays"),
        ("@Careful is another name", "@Careful is another name"),
        ("ann@careful and @careful@example.org and @@careful", "ann@careful and @careful@example.org and @@careful"),
        ("npm i @careful/node, git@careful:x, @careful.py", "npm i @careful/node, git@careful:x, @careful.py"),
        ("@loop", "again @loop and @careful"),
        ("no tag", "no tag"),
    ],
)
def test_a_mention_is_replaced_and_nothing_else(prompt: str, result: str):
    assert expanded(prompt, CONTENTS) == result
    assert expanded_size(prompt, CONTENTS) == len(result)


def test_a_content_is_inserted_as_it_is():
    assert expanded("@x", {"x": r"\1 \g<0> \n"}) == r"\1 \g<0> \n"


def test_names_are_found_in_time_that_grows_with_the_prompt():
    assert names_in("@careful @a-b ann@example.org") == {"careful", "a-b"}
    assert names_in("@" * 1_000_000) == set()
    assert names_in("@" + "a" * 1_000_000) == set()
