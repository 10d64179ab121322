"""Safe access to files to which a container can write, and protection of Relay's own directories."""
