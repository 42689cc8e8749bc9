"""The service itself, without transport, disk or operating system: it calls ports and imports only the model."""
