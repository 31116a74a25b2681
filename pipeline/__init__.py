"""Config, DAG, runners and command line."""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def _refuse_namesakes() -> None:
    """Stops where another module is found under the name of one of our packages.

    Raises:
      SystemExit: naming it.
    """
    root = Path(__file__).resolve().parents[1]
    for name in ("components", "launchers", "serving", "trainer"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parents[1] != root:
            raise SystemExit(
                f"thaw: the package {name!r} is not Thaw's, but {found or 'missing'}.\n"
                "  Remove its folder from PYTHONPATH, or start thaw from another folder."
            )


_refuse_namesakes()
