"""Git on work trees: only inside a container, or by reading files."""
