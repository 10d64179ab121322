"""Shared by the command-line programs: text that is safe on a terminal, output of logs, and the API's event streams."""
