"""Any command line in place of an agent."""
