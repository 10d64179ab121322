"""The local stack: prepare engine and images, then start and supervise Postgres, Valkey, API, worker and Flower."""
