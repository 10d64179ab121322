"""Mirrors and stores on the host, work trees only inside a git container."""
