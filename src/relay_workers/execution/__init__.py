"""One execution from claim to evidence."""
