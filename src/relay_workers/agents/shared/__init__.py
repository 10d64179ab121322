"""Parts that several agents share: command lines, line splitting, the conversation, and the rules of a turn."""
