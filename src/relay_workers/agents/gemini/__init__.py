"""The executor for the agent Gemini CLI by Google."""
