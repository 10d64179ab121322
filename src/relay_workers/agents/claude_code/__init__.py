"""The executor for the agent Claude Code by Anthropic."""
