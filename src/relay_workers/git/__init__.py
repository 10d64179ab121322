"""Git: on the host only with mirrors and stores (`host`), with work trees only inside of a container (`sandbox`)."""
