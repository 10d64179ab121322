"""`python -m relay_api`: serve the API with uvicorn."""

import sys

from relay_core.quick_start import load_program

if __name__ == "__main__":
    sys.exit(load_program("relay_api.service:main")())
