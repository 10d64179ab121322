"""Relay's use of Celery: the app, the sending of messages after a commit, and Flower."""
