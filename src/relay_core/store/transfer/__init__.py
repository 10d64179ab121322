"""The move of entities to another Relay: states and documents of the source, imports of the target."""
