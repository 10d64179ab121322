"""Propose a job file for a repository."""
