"""Workspaces: submission of runs, the lane, stop and resume, deletion."""
