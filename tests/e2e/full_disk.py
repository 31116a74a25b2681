"""Runs `thaw` on a disk that is too small, then again with more room.

    unshare --mount python -m tests.e2e.full_disk OUTPUT REPORT ROOM_BYTES ARGUMENT...

Only inside its own view of the file system is OUTPUT, as it was, on a disk of its own
with ROOM_BYTES to spare; whoever calls keeps theirs. Leaves what happened in REPORT.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THAW = [sys.executable, "-m", "pipeline.cli.main"]


def main(output: Path, report: Path, room_bytes: int, arguments: list[str]) -> None:
    move_to_own_disk(output, room_bytes)
    before = digests(output / "serving")
    first = subprocess.run(
        [*THAW, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    found = {
        "code": first.returncode,
        "printed": first.stdout,
        "before": before,
        "after": digests(output / "serving"),
    }
    subprocess.run(["mount", "-o", "remount,size=90%", str(output)], check=True)
    found["taken_up"] = taken_up(output, arguments)
    report.write_text(json.dumps(found))


def move_to_own_disk(output: Path, room_bytes: int) -> None:
    used = sum(-(-path.stat().st_size // 4096) * 4096 for path in output.rglob("*"))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(output, folder, dirs_exist_ok=True)
        size = used + room_bytes
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(output)], check=True
        )
        shutil.copytree(folder, output, dirs_exist_ok=True)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def taken_up(output: Path, arguments: list[str]) -> str:
    """What the fit says when it begins; the run is interrupted as soon as it has."""
    run = subprocess.Popen(
        [*THAW, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while run.poll() is None:
            for log in sorted(output.glob("logs/*/FineTuner.log"))[-1:]:
                for line in log.read_text(errors="replace").splitlines():
                    if line.startswith("resumes after"):
                        return line
            time.sleep(0.2)
    finally:
        run.send_signal(signal.SIGINT)
        run.wait()
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
