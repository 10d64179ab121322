"""How each coding agent is started and understood."""
