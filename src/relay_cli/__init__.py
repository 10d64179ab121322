"""The `relay` command: a client of the API, and the local stack."""
