"""Anthropic's Claude Code."""
