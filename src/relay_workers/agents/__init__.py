"""Executors: for each coding agent, how Relay starts the agent and reads its output."""
