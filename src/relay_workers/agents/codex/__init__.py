"""OpenAI's Codex."""
