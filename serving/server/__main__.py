"""Serves one model to this machine alone, on ports that are free:

python -m serving.server MODEL_DIR NAME

The log says which ports: see `serving.server.process`, which starts it.
"""

import sys
from pathlib import Path

from serving.server.run import serve
from serving.server.settings import ServerSettings

if __name__ == "__main__":
    folder, name = sys.argv[1:]
    serve(Path(folder), ServerSettings(name=name), "127.0.0.1", 0, grpc_port=0)
