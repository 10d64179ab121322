"""The side of Relay that acts: Celery tasks, the runner of an execution, container engine, git, agents, log capture."""

import os

# Celery reads this variable when it is imported, so it is set before any other module of the worker is: with it, TERM
# leaves all executions to other workers and exits (docs/adr/0003-celery.md).
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
