"""Periodic work of a worker: requeue, adoption, presence, divergence, disk."""
