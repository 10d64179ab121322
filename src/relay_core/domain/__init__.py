"""The rules of Relay as values and pure functions; standard library only."""
