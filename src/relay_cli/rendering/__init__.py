"""Text for people, made from the API's JSON by pure functions: tables, pages of runs, summaries, edits, progress."""
