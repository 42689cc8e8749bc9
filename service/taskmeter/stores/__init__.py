"""Durable stores of tasks and events; SQLite is the embedded default."""
