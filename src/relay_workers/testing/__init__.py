"""Scripted fakes of the worker's interfaces to the outside, for tests that need no container engine and no git.

A fake works in memory and is deterministic. Only the files of run directories and clones are real, because the worker
reads them directly. Each fake passes the same test suite as the real implementation (tests/conformance). Each fault
that can be scripted names the test in which the real engine or git showed it first.
"""
