"""Pure functions about git: branch names, URLs and patches."""
