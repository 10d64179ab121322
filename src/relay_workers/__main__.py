"""``python -m relay_workers``: runs one worker of this node."""

from relay_core.quick_start import load_program

if __name__ == "__main__":
    load_program("relay_workers.service:main")()
