"""The `relay` command: a client of the API, and commands that run the local stack."""
