"""Which waiting runs are admitted: limits hold, turns go round, priority comes first, and every wait has a reason."""

from collections import Counter
from dataclasses import replace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.domain.admission import (
    LimitKind,
    Limits,
    NodePlaces,
    Situation,
    WaitingRun,
    WaitKind,
    decide,
)
from relay_core.domain.vocabulary import Priority

PROJECTS = [UUID(int=number) for number in (1, 2, 3)]
OWNERS = ["ann", "bob"]
POOLS = ["default", "big"]
NODES = ["n1", "n2", "n3"]
CAPABILITIES = ["gpu", "kvm"]


def run(number: int, project: int = 1, owner: str = "ann", **more) -> WaitingRun:
    values = {"pool": "default", "priority": Priority.NORMAL, "waited_seconds": 1000.0 - number, **more}
    return WaitingRun(UUID(int=100 + number), UUID(int=project), owner, **values)


def node(name: str = "n1", places: int | None = 100, taken: int = 0, **more) -> NodePlaces:
    return NodePlaces(name, "default", places, taken, **more)


def names(decision) -> list[int]:
    return [one.run.id.int - 100 for one in decision.admitted]


@st.composite
def waiting_runs(draw) -> list[WaitingRun]:
    few = draw(st.integers(0, 12))
    return [
        WaitingRun(
            UUID(int=1000 + number),
            draw(st.sampled_from(PROJECTS)),
            draw(st.sampled_from(OWNERS)),
            draw(st.sampled_from(POOLS)),
            draw(st.sampled_from(list(Priority))),
            float(draw(st.integers(0, 3000))),
            frozenset(draw(st.sets(st.sampled_from(CAPABILITIES), max_size=1))),
            draw(st.none() | st.sampled_from([*NODES, "gone"])),
        )
        for number in range(few)
    ]


@st.composite
def situations(draw) -> Situation:
    small = st.integers(0, 5)
    nodes = [
        NodePlaces(
            name,
            draw(st.sampled_from(POOLS)),
            draw(st.none() | small),
            draw(small),
            frozenset(draw(st.sets(st.sampled_from(CAPABILITIES)))),
            draw(st.booleans()),
        )
        for name in draw(st.sets(st.sampled_from(NODES)))
    ]
    own = {}
    for kind, which in ((LimitKind.PROJECT, PROJECTS), (LimitKind.OWNER, OWNERS), (LimitKind.POOL, POOLS)):
        for one in draw(st.sets(st.sampled_from(which))):
            own[kind, str(one)] = draw(small)
    default = {kind: draw(small) for kind in draw(st.sets(st.sampled_from([LimitKind.PROJECT, LimitKind.OWNER])))}
    counts = {key: draw(small) for key in own}
    turns = {
        (one, owner): float(draw(st.integers(0, 9)))
        for one in PROJECTS
        for owner in draw(st.sets(st.sampled_from(OWNERS)))
    }
    return Situation(
        nodes, frozenset(POOLS), {pool: draw(small) for pool in POOLS}, counts, Limits(own, default), turns
    )


@settings(max_examples=60, deadline=None)
@given(waiting_runs(), situations())
def test_each_run_is_admitted_or_waits_for_a_reason_and_no_limit_is_exceeded(runs, before) -> None:
    decision = decide(runs, before)
    admitted = [one.run for one in decision.admitted]
    assert {one.id for one in admitted} | set(decision.waits) == {one.id for one in runs}
    assert len(admitted) + len(decision.waits) == len(runs)
    assert all(wait.message for wait in decision.waits.values())
    for kind, name_of in (
        (LimitKind.PROJECT, lambda one: str(one.project_id)),
        (LimitKind.OWNER, lambda one: one.owner),
        (LimitKind.POOL, lambda one: one.pool),
    ):
        for name, more in Counter(map(name_of, admitted)).items():
            most = before.limits.of(kind, name)
            assert most is None or before.counts.get((kind, name), 0) + more <= most
    for each in before.nodes:
        more = sum(each.node_id in (one.node_id, one.run.node_id) for one in decision.admitted)
        assert not more or each.places is None or each.taken + more <= each.places


@settings(max_examples=60, deadline=None)
@given(waiting_runs(), situations())
def test_a_run_with_needs_is_placed_on_a_node_that_declares_them(runs, before) -> None:
    declares = {each.node_id: each.declares for each in before.nodes}
    for one in decide(runs, before).admitted:
        if one.run.needs and one.run.node_id is None:
            assert one.run.needs <= declares[one.node_id]
        else:
            assert one.node_id is None


@settings(max_examples=60, deadline=None)
@given(waiting_runs(), situations())
def test_nothing_is_left_that_could_start(runs, before) -> None:
    """After a decision, a second one that knows the first admits nothing."""
    first = decide(runs, before)
    counts, unplaced = dict(before.counts), dict(before.unplaced)
    taken = Counter()
    for one in first.admitted:
        for key in (
            (LimitKind.PROJECT, str(one.run.project_id)),
            (LimitKind.OWNER, one.run.owner),
            (LimitKind.POOL, one.run.pool),
        ):
            counts[key] = counts.get(key, 0) + 1
        where = one.node_id or one.run.node_id
        if where is None:
            unplaced[one.run.pool] = unplaced.get(one.run.pool, 0) + 1
        else:
            taken[where] += 1
    nodes = [replace(each, taken=each.taken + taken[each.node_id]) for each in before.nodes]
    after = replace(before, nodes=nodes, counts=counts, unplaced=unplaced)
    rest = [one for one in runs if one.id in first.waits]
    assert not decide(rest, after).admitted


@settings(max_examples=60, deadline=None)
@given(waiting_runs())
def test_a_higher_level_comes_first_where_all_want_the_same_places(runs) -> None:
    alike = [replace(one, pool="default", needs=frozenset(), node_id=None) for one in runs]
    decision = decide(alike, Situation([node(places=7)], frozenset({"default"})))
    levels = [one.run.level(600) for one in decision.admitted]
    assert levels == sorted(levels, reverse=True)
    left = [one.level(600) for one in alike if one.id in decision.waits]
    assert not left or not levels or max(left) <= min(levels)


def test_projects_take_turns_then_owners_then_age() -> None:
    runs = [run(1), run(2), run(3, owner="bob"), run(4, project=2), run(5, project=2), run(6, project=2)]
    assert names(decide(runs, Situation([node()]))) == [1, 4, 3, 5, 2, 6]


def test_the_one_that_was_served_longest_ago_is_next() -> None:
    runs = [run(1), run(2, project=2), run(3, project=2, owner="bob")]
    turns = {(UUID(int=1), "ann"): 9.0, (UUID(int=2), "ann"): 8.0, (UUID(int=2), "bob"): 7.0}
    assert names(decide(runs, Situation([node()], turns=turns))) == [3, 1, 2]


def test_ten_minutes_of_waiting_raise_a_run_by_one_level() -> None:
    runs = [
        run(1, priority=Priority.LOW, waited_seconds=599.0),
        run(2, project=2, waited_seconds=0.0),
        run(3, project=3, priority=Priority.LOW, waited_seconds=1200.0),
        run(4, priority=Priority.HIGH, waited_seconds=0.0),
    ]
    assert names(decide(runs, Situation([node()]))) == [3, 4, 2, 1]
    assert names(decide(runs, Situation([node()]), raise_seconds=100)) == [3, 1, 4, 2]


def test_a_run_that_a_limit_holds_back_holds_back_no_other() -> None:
    limits = Limits({(LimitKind.PROJECT, str(UUID(int=1))): 1})
    decision = decide([run(1), run(2), run(3, project=2)], Situation([node(places=2)], limits=limits))
    assert names(decision) == [1, 3]
    wait = decision.waits[UUID(int=102)]
    assert (wait.kind, wait.limit, wait.name, wait.max_runs) == (
        WaitKind.LIMIT,
        LimitKind.PROJECT,
        str(UUID(int=1)),
        1,
    )


def test_a_capability_that_no_node_declares_is_named() -> None:
    needy = run(1, needs=frozenset({"gpu", "tpu"}))
    decision = decide([needy, run(2)], Situation([node(declares=frozenset({"gpu"}))]))
    assert names(decision) == [2]
    wait = decision.waits[needy.id]
    assert (wait.kind, wait.capabilities) == (WaitKind.CAPABILITY, ["tpu"])
    assert wait.message == "no node of the pool default declares tpu"


def test_without_a_node_a_known_pool_waits_and_an_unknown_one_takes_a_few() -> None:
    runs = [run(number) for number in range(60)]
    assert len(decide(runs, Situation()).admitted) == 50
    known = decide(runs, Situation(known_pools=frozenset({"default"})))
    assert not known.admitted
    assert {wait.kind for wait in known.waits.values()} == {WaitKind.NODE}


def test_a_pool_queue_holds_no_more_than_the_pool_can_start() -> None:
    nodes = [node("n1", 2, 1), node("n2", 5, takes_new=False), node("n3", 2)]
    decision = decide([run(number) for number in range(9)], Situation(nodes, unplaced={"default": 1}))
    assert names(decision) == [0, 1]
    assert {wait.message for wait in decision.waits.values()} == {"no node has room (4 of 4 workspaces are at work)"}


def test_a_run_on_a_revoked_node_waits_for_it_and_takes_no_place() -> None:
    revoked = node("n1", takes_new=False, revoked=True)
    decision = decide([run(1, node_id="n1"), run(2)], Situation([revoked, node("n2")]))
    assert names(decision) == [2]
    (wait,) = decision.waits.values()
    assert (wait.kind, wait.message) == (WaitKind.NODE, "its node n1 is revoked")
