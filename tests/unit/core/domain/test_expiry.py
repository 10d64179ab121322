"""Which act an idle workspace is due for: a table, and properties over all facts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.expiry import ExpiryAct, ExpiryFacts, Hours, Term, Terms, decide, planned, terms_of
from relay_core.domain.vocabulary import WorkspaceState

HOUR = 3600.0
ALL = Terms(Term(1, of_project=False), Term(2, of_project=False), Term(3, of_project=True))
OF = {ExpiryAct.STOP: ALL.stop, ExpiryAct.ARCHIVE: ALL.archive, ExpiryAct.DELETE: ALL.delete}


def facts(**given_facts) -> ExpiryFacts:
    quiet = {"state": WorkspaceState.RUNNING, "changing": False, "archived": False, "pinned": False}
    return ExpiryFacts(**{**quiet, "diverged": False, "blocked": False, "idle_seconds": 100 * HOUR, **given_facts})


@pytest.mark.parametrize(
    ("given_facts", "act"),
    [
        ({"idle_seconds": 0.9 * HOUR}, None),
        ({"idle_seconds": HOUR}, ExpiryAct.STOP),
        ({"idle_seconds": 2 * HOUR}, ExpiryAct.ARCHIVE),
        ({"state": WorkspaceState.STOPPED, "idle_seconds": 1.5 * HOUR}, None),
        ({"state": WorkspaceState.STOPPED}, ExpiryAct.ARCHIVE),
        ({"state": WorkspaceState.FAILED}, ExpiryAct.ARCHIVE),
        ({"state": WorkspaceState.STARTING}, None),
        ({"archived": True, "idle_seconds": 1.5 * HOUR}, ExpiryAct.STOP),
        ({"archived": True, "state": WorkspaceState.STOPPED, "idle_seconds": 2.5 * HOUR}, None),
        ({"archived": True}, ExpiryAct.DELETE),
        ({"archived": True, "state": WorkspaceState.FAILED}, ExpiryAct.DELETE),
        ({"diverged": True}, ExpiryAct.STOP),
        ({"diverged": True, "archived": True, "state": WorkspaceState.STOPPED}, None),
        ({"changing": True}, None),
        ({"pinned": True}, None),
        ({"blocked": True}, None),
    ],
)
def test_the_act_that_is_due(given_facts: dict, act: ExpiryAct | None):
    found = decide(facts(**given_facts), ALL)
    assert (found and found.act) == act


def test_what_a_project_says_goes_before_the_server():
    server = Hours(stop=1, archive=2, delete=3)
    assert terms_of(server, Hours(stop=5, archive=0)) == Terms(
        Term(5, of_project=True), None, Term(3, of_project=False)
    )
    assert terms_of(Hours(), Hours()) == Terms()


def test_the_next_act_of_a_pinned_workspace_is_told_but_not_done():
    pinned = facts(pinned=True, idle_seconds=0.25 * HOUR)
    found = planned(pinned, ALL)
    assert found is not None
    assert (found.act, found.in_seconds) == (ExpiryAct.STOP, 0.75 * HOUR)
    assert decide(pinned, ALL) is None


HOURS = st.none() | st.floats(min_value=0, max_value=100)
ANY_FACTS = st.builds(
    ExpiryFacts,
    state=st.sampled_from(WorkspaceState),
    changing=st.booleans(),
    archived=st.booleans(),
    pinned=st.booleans(),
    diverged=st.booleans(),
    blocked=st.booleans(),
    idle_seconds=st.floats(min_value=0, max_value=400 * HOUR),
)
ANY_HOURS = st.builds(Hours, stop=HOURS, archive=HOURS, delete=HOURS)


@given(facts=ANY_FACTS, server=ANY_HOURS, project=ANY_HOURS)
def test_no_act_is_done_too_early_or_out_of_turn(facts: ExpiryFacts, server: Hours, project: Hours):
    terms = terms_of(server, project)
    found = decide(facts, terms)
    if found is None:
        return
    assert not (facts.pinned)
    assert not (facts.blocked)
    assert not (facts.changing)
    assert facts.state is not WorkspaceState.STARTING
    hours = {name: mine if (mine := vars(project)[name]) is not None else vars(server)[name] for name in vars(server)}
    assert found.term.hours == hours[found.act]
    assert 0 < found.term.hours * HOUR <= facts.idle_seconds
    assert (found.act is ExpiryAct.DELETE) <= facts.archived
    assert (found.act is ExpiryAct.ARCHIVE) <= (not facts.archived)
    assert (found.act is ExpiryAct.STOP) <= (facts.state is WorkspaceState.RUNNING)
    assert not (facts.diverged and found.act is not ExpiryAct.STOP)


@given(facts=ANY_FACTS, server=ANY_HOURS)
def test_what_is_planned_is_done_once_its_time_has_come(facts: ExpiryFacts, server: Hours):
    terms = terms_of(server, Hours())
    found = planned(facts, terms)
    if found is None or facts.pinned or facts.blocked:
        return
    later = ExpiryFacts(**{**vars(facts), "idle_seconds": facts.idle_seconds + max(found.in_seconds, 0) + 1})
    assert decide(later, terms) is not None
