"""Admission of waiting runs, decided in Postgres before their messages are sent."""
