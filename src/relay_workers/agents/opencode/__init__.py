"""The executor for the agent opencode."""
