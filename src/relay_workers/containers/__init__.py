"""The container port, and Docker behind it."""
