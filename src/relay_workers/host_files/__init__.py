"""Safe access to files that a container can write, and Relay's own directories."""
