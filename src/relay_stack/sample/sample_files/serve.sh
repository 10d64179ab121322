python3 page.py && exec python3 -m http.server "$PORT" --bind "$HOST" --directory public
