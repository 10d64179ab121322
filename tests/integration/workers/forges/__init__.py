"""Pull requests at hosts of ours."""
