"""Git: mirrors and stores on the host (`host`), work trees only inside of a container (`sandbox`)."""
