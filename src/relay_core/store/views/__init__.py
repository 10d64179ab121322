"""Queries behind the API's lists and details."""
