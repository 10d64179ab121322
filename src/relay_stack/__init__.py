"""The local stack: starts and supervises Postgres, Valkey, API, worker and Flower, and prepares engine and images."""
