"""What `thaw run` and `thaw inspect` start as a child: runs the nodes. See `runner.main`."""

import gc
import sys


def main(arguments: list[str]) -> int:
    """As `pipeline.local.runner.main`."""
    # Imports leave little garbage, and looking for it takes a fifth of their time.
    gc.disable()
    from pipeline.local import runner

    gc.enable()
    return runner.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
