"""Projects with their tasks, git remotes and secrets."""
