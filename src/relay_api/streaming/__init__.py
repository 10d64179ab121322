"""Server-sent events, and the watchers that wake a stream when there is something new to send."""
