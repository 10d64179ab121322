"""Decisions about log bytes: appending and masking."""
