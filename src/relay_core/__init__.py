"""What the API, the workers and the command line agree on: domain, ports, storage and queue."""

__version__ = "0.1.0"
