"""Work on clones, which an agent may have changed: git runs only in a container; the host only reads and owns files."""
