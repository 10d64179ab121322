"""Executions: creation, claim, end, kill, takeover, retry."""
