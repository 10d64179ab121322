"""Ownership of executions: node and worker identity, claims, leases, live executions, admission."""
