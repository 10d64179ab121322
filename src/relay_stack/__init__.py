"""The local stack: embedded Postgres and Valkey, the engine, the images, and who watches over them."""
