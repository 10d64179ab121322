"""From a process's output to durable log bytes."""
