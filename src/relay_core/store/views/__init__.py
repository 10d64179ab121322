"""Queries for the API's lists and detail pages."""
