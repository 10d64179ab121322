"""The HTTP API. A route parses the request, calls one use case in `relay_core`, and returns the answer."""
