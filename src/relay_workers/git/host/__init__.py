"""Git on the host, which runs only in repositories that Relay alone writes: mirrors and stores."""
