"""Git on the host: mirrors and stores that Relay alone writes."""
