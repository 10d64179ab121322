"""The processes of the local stack, and the supervisor that keeps them alive."""
