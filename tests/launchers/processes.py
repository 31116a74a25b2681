"""Which processes live."""

import time

import psutil


def living(text: str) -> list[psutil.Process]:
    """Processes of whose command line `text` is a part, zombies left out."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if text in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def wait_until(true, timeout_secs: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_secs
    while not true():
        assert time.monotonic() < deadline, f"still not so after {timeout_secs} s"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
