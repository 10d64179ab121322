"""The executor for the agent aider."""
