"""What others report about a task, in a block of the daemon's own beside the task's: both are added."""
