"""One execution, from its claim to the end that is written with its evidence."""
