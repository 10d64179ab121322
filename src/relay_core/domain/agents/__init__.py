"""Coding agents as values: executors and their options, profiles, conversations."""
