"""Code shared by several agents: command lines, line splitting, the conversation, and the rules for a turn."""
