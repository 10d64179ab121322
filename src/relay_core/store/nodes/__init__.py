"""Nodes: registration, heartbeats, capacity, and the workspaces that a node should hold."""
