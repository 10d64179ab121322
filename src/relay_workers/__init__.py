"""The side that acts: Celery tasks, the runner of one execution, container engine, git, agents, log capture."""
