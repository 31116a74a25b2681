"""What a training process says by its exit code, to its launcher, which may start it again.

Any other code but 0 is an error of the work itself. `launchers.failures` says what each means to
the user, and which are worth another start.
"""

PREEMPTED = 75
"""SIGTERM: progress is saved, and the next start resumes there."""

LOST_PEER = 76
"""Another worker or a service is gone: nothing is wrong with this one."""

NOT_STARTED = 60
"""Not all workers started in time. Also the number of a signal that nobody else uses:
see `trainer.process.watchdog.exit_on_signal`."""

STALLED = 78
"""Nothing was finished for too long."""
