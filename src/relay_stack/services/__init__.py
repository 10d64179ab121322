"""The processes of the local stack."""
