"""Programs and scripts that Relay mounts into every container."""
