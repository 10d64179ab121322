"""Write leases of subtasks: what a workspace may write, derived; requests, releases and reclaims of leases."""
