"""Partitions of large tables: made ahead of their time, and dropped when they are older or larger than is kept."""
