"""The sample job of a first start: a small repository, and a run on it."""
