"""Relay's rules as values and pure functions, without input or output.

They import the standard library and ahocorasick_rs only.
"""
