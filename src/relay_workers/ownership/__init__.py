"""Ownership of executions: identity of nodes and workers, claims, leases, live executions, free capacity of a node."""
