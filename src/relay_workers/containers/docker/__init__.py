"""The container port on the Docker API."""
