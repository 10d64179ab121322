"""Code that the command-line programs share: terminal-safe text, output of logs, and a parser of API event streams."""
