"""The build backend of Relay (`hooks`), which compiles the program relay-pid1 (`binaries`)."""
