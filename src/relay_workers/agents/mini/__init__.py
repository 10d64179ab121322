"""The executor for the agent mini-swe-agent."""
