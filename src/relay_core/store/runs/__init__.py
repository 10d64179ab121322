"""Runs: their rows, their state, and what clients ask of them."""
