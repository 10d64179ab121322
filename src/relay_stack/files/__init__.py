"""Files of the local stack in its data directory: the lock, the state, secrets and the remembered environment."""
