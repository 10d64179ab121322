"""Coding agents as values: names, profiles, conversations."""
