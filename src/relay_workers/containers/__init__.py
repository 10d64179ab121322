"""The interface to a container engine, and its implementation on Docker."""
