"""Health page and `relay doctor`."""
