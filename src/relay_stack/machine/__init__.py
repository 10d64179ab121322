"""The machine below the local stack: packages, accounts, the container engine."""
