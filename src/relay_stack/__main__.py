"""`python -m relay_stack …`: the local stack for other programs, which `commands.py` describes."""

import sys

from relay_core.quick_start import load_program

if __name__ == "__main__":
    sys.exit(load_program("relay_stack.commands:main")(sys.argv[1:]))
