"""The page at `/`: what the API knows, as HTML for people. It shows nothing that a client of the API cannot get."""
