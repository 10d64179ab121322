"""Celery as Relay uses it: the app, the sending of messages after commit, and Flower."""
