"""What a training process says by its exit code, to whoever started it and may start it again.

Any other code but 0 is an error of the work itself, which would only happen again.
"""

PREEMPTED = 75
"""Told to leave (SIGTERM); what was done is saved, and the next start goes on from there."""

LOST_PEER = 76
"""Another worker went away, or a service did: nothing is wrong with this one."""

NOT_STARTED = 60
"""The workers did not all come up in time. Also the number of a signal that nobody else uses:
see `trainer.process.watchdog.exit_on_signal`."""

STALLED = 78
"""Nothing was finished for too long."""

TRANSIENT = frozenset({PREEMPTED, LOST_PEER, STALLED})
"""Worth another start. So is the end by a signal."""
