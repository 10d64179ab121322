"""The periodic work of a worker. Each part runs on its own periodic thread, a "clock" (`clocks`)."""
