"""Work on clones, whose files an agent may have changed in a harmful way.

Git runs only in a container. The host only reads files, changes their owner, and removes lock files.
"""
