"""Merges: requests of clients, what the worker that carries one out stores, and what the API shows."""
