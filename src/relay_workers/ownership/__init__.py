"""What this process owns: node identity, live executions, leases, admission."""
