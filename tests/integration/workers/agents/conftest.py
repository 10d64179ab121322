"""Tests of real agents are collected where the agent is wanted (tests/support/agents_wanted.py)."""

from relay_core.domain.agents.executors import EXECUTORS
from tests.support.agents_wanted import wanted

_EVERY = tuple(kind.name for kind in EXECUTORS.values() if kind.program)
collect_ignore = [f"test_executor_{name.replace('-', '_')}.py" for name in _EVERY if name not in wanted(_EVERY)]
