"""The report of the run that a version is from, where it lies beside it."""

import json
import os
from pathlib import Path

from serving.versions import output_of
from trainer.data.regular_files import read_regular_file

RUN_FILE = "run.json"
REPORT_FILE = "report.html"

_MOST_RUN_BYTES = 2**28


def report_of(version_dir: Path, run_id: str) -> Path | None:
    """Finds the report of the run that pushed a version.

    The output folder holds the report of its latest run only: that of a version which an earlier
    run pushed has been replaced.

    Args:
      version_dir: the version's folder, as an absolute path.
      run_id: of the run, as the version's record has it.

    Returns:
      The file; None if there is none, if it is another run's, or if it cannot be read.
    """
    output = output_of(version_dir)
    if output is None:
        return None
    try:
        run = json.loads(read_regular_file(str(output / RUN_FILE), _MOST_RUN_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    report = output / REPORT_FILE
    is_its_own = isinstance(run, dict) and run.get("run_id") == run_id
    return report if is_its_own and report.is_file() and os.access(report, os.R_OK) else None
