"""Scripted fakes of the worker's ports, for tests that need no container engine and no git.

A fake is in memory and deterministic; only the files of run directories and clones are real, because the worker reads
them itself. Each fake passes the same suite as the real adapter (tests/conformance), and each fault that can be
scripted names the test in which the real engine or git showed it first.
"""
