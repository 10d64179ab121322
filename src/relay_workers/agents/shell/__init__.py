"""The executor that runs a command line instead of an agent."""
