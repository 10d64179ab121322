"""Decisions about nodes: presence and room."""
