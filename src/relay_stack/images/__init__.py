"""Build the container images that Relay uses."""
