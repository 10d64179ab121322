"""Celery as Relay uses it: the app, what a message carries, and how it is sent."""
