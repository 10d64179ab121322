"""Server-sent events, and the watchers that wake their readers."""
