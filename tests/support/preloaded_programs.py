"""Is imported by the process from which `PreloadedProcess` forks: loads all that the programs need."""

from relay_core.quick_start import load_program
from tests.support.preloaded import PROGRAMS

for program in PROGRAMS:
    load_program(f"{program}.service:main")
