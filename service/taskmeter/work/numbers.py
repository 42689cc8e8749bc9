"""Numbers of the wire (protos/taskmeter/v1), as plain integers: their enums would take longer to load than all else here."""

QUEUED = 1
IN_PROGRESS = 2
COMPLETED = 3
FAILED = 4
RETRYING = 5
SKIPPED = 6
STATUSES = {"queued": 1, "in_progress": 2, "completed": 3, "failed": 4, "retrying": 5, "skipped": 6}
"""ItemStatus by the words of a tracker."""

STEPS = {"start": 1, "complete": 2, "retry": 3, "fail": 4}
"""StepEventType by the words of a tracker."""

NOTE = 1
WARNING = 2
ERROR = 3
LOG = 4
