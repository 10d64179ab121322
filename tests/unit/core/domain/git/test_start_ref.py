import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.start_ref import check_ref, may_be_commit, needs_own_fetch, ref_names


@pytest.mark.parametrize("ref", ["main", "dev/x", "v1.2.0", "refs/pull/7/head", "refs/heads/a", "0a1b2c3", "A" * 40])
def test_names_and_commit_ids_are_taken(ref):
    assert check_ref(ref, "repos.0.ref") == ref


@pytest.mark.parametrize("ref", ["main~1", "main^", "-x", "a b", "a..b", "@{u}", "HEAD", "a:b", "refs/heads/", "*"])
def test_expressions_and_options_are_refused_with_the_field(ref):
    with pytest.raises(InvalidInput, match="no branch, tag, commit id") as error:
        check_ref(ref, "repos.0.ref")
    assert (error.value.code, error.value.field) == ("ref_invalid", "repos.0.ref")


def test_a_short_name_can_be_a_branch_or_a_tag():
    assert ref_names("v1") == ("refs/heads/v1", "refs/tags/v1")
    assert ref_names("refs/tags/v1") == ("refs/tags/v1",)


def test_only_seven_to_forty_hexadecimal_digits_may_be_a_commit():
    assert [may_be_commit(text) for text in ("abcdef", "abcdef0", "a" * 40, "a" * 41, "abcdefg")] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_fetch_of_branches_and_tags_leaves_other_refs_out():
    refs = ("main", "refs/heads/main", "refs/tags/v1", "refs/pull/7/head", "refs/relay/changes/1")
    assert [needs_own_fetch(ref) for ref in refs] == [False, False, False, True, True]
