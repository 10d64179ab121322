"""Random faults under load, and a check of every run afterwards: ``python -m bench.chaos [--kills N] [--seed N]``.

Two nodes (one on this machine's engine, one on an engine of the bench's own) carry runs of several kinds: plain chains,
parallel setup scripts, killed agents, stopped and resumed workspaces, retried setups, dev servers. Meanwhile one part
after another fails. After half of the faults nothing is restarted for a while, so that a worker that stays up must
recover by itself. Every process writes numbered lines and notes that it ran: each log is compared byte for byte with
what its process wrote, and each process must have run exactly once.
"""

from bench.chaos.chaos import Chaos
from bench.chaos.faults import FAULTS
from bench.chaos.report import Report
from bench.chaos.world import World, made_world

__all__ = ["FAULTS", "Chaos", "Report", "World", "made_world"]
