"""The executor for the agent Qwen Code."""
