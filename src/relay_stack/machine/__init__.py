"""Prepare the machine for the local stack: packages, system accounts and the container engine."""
