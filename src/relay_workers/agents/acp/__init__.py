"""The executor for any agent that speaks the Agent Client Protocol."""
