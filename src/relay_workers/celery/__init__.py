"""The worker's side of Celery: tasks, transport, consumed queues, revocations and task events."""
