"""Git on the host. It runs only in repositories to which only Relay writes: mirrors and stores."""
