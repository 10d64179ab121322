"""A scripted stand-in for a model's API: tests say in the prompt what "the model" shall do."""
