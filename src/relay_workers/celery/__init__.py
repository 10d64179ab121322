"""The worker's side of Celery: tasks, transport, consumed queues, revocations, task events."""
