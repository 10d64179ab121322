"""Nodes: registration, heartbeat, room, and the rows that a node's sweeps compare with its disk."""
