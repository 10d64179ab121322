"""The subcommands of `relay`, one module per topic."""
