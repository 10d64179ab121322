"""The slim HTTP API: parse, call one use case, answer."""
