"""The implementation of the container interfaces with the Docker API."""
