"""The client of relay-pid1, the first process of a workspace container (docs/pid1-protocol.md).

`containers.docker.channels` connects it to containers; the port `containers.port.Containers` says what workers ask.
"""
