"""Pull requests at the REST APIs of their hosts."""
