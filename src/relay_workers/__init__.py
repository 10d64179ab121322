"""The side of Relay that acts: Celery tasks, the runner of an execution, container engine, git, agents, log capture."""
