"""Random faults under load, and a check of every run afterwards: ``python -m bench.chaos [--kills N] [--seed N]``.

Two nodes (one uses this machine's container engine, one an engine that the bench starts) execute runs of several kinds:
plain chains of steps, parallel setup scripts, killed agents, stopped and resumed workspaces, retried setup scripts, dev
servers. Meanwhile the bench makes one part after another fail. After half of the faults it restarts nothing for a
while, so that the running workers must recover by themselves. Every process of a run writes numbered lines and records
that it ran. Afterwards each log is compared byte for byte with the lines that its process wrote, and each process must
have run exactly once.
"""

from bench.chaos.chaos import Chaos
from bench.chaos.faults import FAULTS
from bench.chaos.report import Report
from bench.chaos.world import World, made_world

__all__ = ["FAULTS", "Chaos", "Report", "World", "made_world"]
