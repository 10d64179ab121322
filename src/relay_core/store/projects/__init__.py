"""Projects, tasks, remotes and secrets."""
