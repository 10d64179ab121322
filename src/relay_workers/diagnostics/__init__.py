"""`relay doctor`: examines the services, this node and its executions.

Modules that gather facts (`*_facts`) are separate from those that judge them (`*checks`).
"""
