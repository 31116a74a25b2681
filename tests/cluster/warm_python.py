"""A Python that has the imports of TFX's entry point behind it and runs `python -m …` in forks.

    python warm_python.py ENTRY_POINT

Importing TFX takes 20 s. This process imports the entry point that a container's command
names, and nothing of the project, as the command itself would first; each command then
starts in a fork. It reads one JSON object a line, `{"arguments": [...], "log": path,
"environment": {...}}`, and answers each with `{"exit_code": n}`.
"""

import gc
import importlib
import json
import os
import runpy
import sys
import traceback


def main() -> None:
    importlib.import_module(sys.argv[1])
    gc.freeze()  # no fork needs to search it for garbage
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**asked)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit_code": os.waitstatus_to_exitcode(status)}), flush=True)


def run(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    """Becomes `python -m arguments…`; never returns."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    sys.argv = ["", *arguments[1:]]
    code = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
