"""The processor time of Postgres for one act of each kind, carried out one after the other on one connection.

Unlike rates and percentiles, these figures hardly depend on what else the machine does.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from bench.fleet.plan import HEARTBEAT_SECONDS, RENEW_SECONDS, Plan, node_ids
from bench.fleet.worker import FleetProcess

from relay_core.domain.message import QueueMessage
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimed

ROUNDS = 1000
"""Renewals and heartbeats that are measured."""
EXECUTIONS = 50
"""Executions that are claimed and ended."""


def measure_acts(url: str, plan: Plan, processor_seconds: Callable[[], float]) -> dict[str, float]:
    """Return the seconds of processor time that Postgres needs for one act, by kind.

    Args:
        url: of a database that `fill` has filled.
        plan: of the fleet.
        processor_seconds: returns the processor time of the connections so far.
    """
    ids = node_ids(plan.nodes)
    alone = replace(plan, processes=1, per_second=1, seconds=2.0 * EXECUTIONS)
    fleet = FleetProcess(Settings(database_url=url), alone, ids)
    fleet.prepare()
    claimed: list[Claimed] = []

    def claim(number: int) -> None:
        message: QueueMessage = fleet.next_message()
        fleet.claim(message, message.node_id or ids[number % len(ids)], claimed)

    acts: Mapping[str, tuple[int, Callable[[int], None]]] = {
        "renewal": (ROUNDS, lambda number: fleet.renew(ids[number % len(ids)])),
        "heartbeat": (ROUNDS, lambda number: fleet.heartbeat(ids[number % len(ids)])),
        "claim": (EXECUTIONS, claim),
        "end": (EXECUTIONS, lambda _: fleet.end(claimed.pop())),
    }
    costs = {}
    for kind, (count, act) in acts.items():
        act(0)  # the first one may have to connect
        before = processor_seconds()
        for number in range(1, count):
            act(number)
        costs[kind] = (processor_seconds() - before) / (count - 1)
    fleet.close()
    return costs


def describe(costs: Mapping[str, float], plan: Plan) -> list[str]:
    """Return lines with the cost of each act, and with the processor time that the fleet of a plan needs by these."""
    rates = {
        "renewal": plan.nodes / RENEW_SECONDS,
        "heartbeat": plan.nodes / HEARTBEAT_SECONDS,
        "claim": plan.per_second,
        "end": plan.per_second,
    }
    lines = ["", "processor time of Postgres for one act, without other acts beside it:"]
    lines += [f"  {kind:<10}{costs[kind] * 1000:>7.2f} ms, {rate:>7.1f} a second" for kind, rate in rates.items()]
    total = sum(costs[kind] * rate for kind, rate in rates.items())
    return [*lines, f"  together {total:.2f} processor seconds per second for {plan.nodes} nodes"]
