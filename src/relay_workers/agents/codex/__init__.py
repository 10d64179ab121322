"""The executor for the agent Codex by OpenAI."""
