"""Native code's standard error is dropped while asked for, and comes back, whoever asks."""

import os
import threading

from trainer.process.quiet import quiet_stderr


def test_threads_that_overlap_leave_standard_error_as_it_was(capfd):
    """The first that enters is the first that leaves."""
    inside, left = threading.Event(), threading.Event()

    def second() -> None:
        with quiet_stderr():
            inside.set()
            assert left.wait(10)

    thread = threading.Thread(target=second)
    with quiet_stderr():
        thread.start()
        assert inside.wait(10)
        os.write(2, b"dropped")
    os.write(2, b"dropped too: one is still inside")
    left.set()
    thread.join()
    os.write(2, b"seen")

    assert capfd.readouterr().err == "seen"


def test_blocks_in_each_other_are_one(capfd):
    with quiet_stderr():
        with quiet_stderr():
            os.write(2, b"dropped")
        os.write(2, b"dropped")
    os.write(2, b"seen")

    assert capfd.readouterr().err == "seen"
