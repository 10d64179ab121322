"""The container engine: one narrow port, and Docker behind it."""
