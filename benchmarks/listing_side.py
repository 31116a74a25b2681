"""Lists the folder that is its one argument; the child of `benchmarks.listing`."""

import sys

from benchmarks.listing import print_json

if __name__ == "__main__":
    print_json(sys.argv[1])
