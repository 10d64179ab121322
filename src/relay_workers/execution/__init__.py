"""Carries out one execution, from its claim to the transaction that stores its end and its results."""
