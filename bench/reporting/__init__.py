"""What it costs the work to report, and the daemon to take it."""
