"""The formats that a model is exported to, and when an export agrees. Light to import."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from trainer.errors import ThawError
from trainer.records import Record

INT8 = "tflite_int8"


@dataclass(frozen=True)
class ExportFormat:
    """A format.

    Attributes:
      file: name of the exported file.
      extra: of Thaw, which installs what writes and runs the format.
      modules: which that brings.
      tolerance: how far a probability may be off by rounding: what ServingCheck allows for numbers
        of this width.
    """

    file: str
    extra: str
    modules: tuple[str, ...]
    tolerance: float

    @property
    def tie(self) -> float:
        """Two probabilities that are less than this apart may change their order by rounding."""
        return 2 * self.tolerance


_LITERT = ("ai_edge_litert",)
FORMATS = {
    "tflite": ExportFormat("model.tflite", "tflite", _LITERT, 1e-3),
    "tflite_float16": ExportFormat("model_float16.tflite", "tflite", _LITERT, 1e-2),
    INT8: ExportFormat("model_int8.tflite", "tflite", _LITERT, 1e-2),
    "onnx": ExportFormat("model.onnx", "onnx", ("onnx", "onnxruntime", "tf2onnx"), 1e-3),
}


@dataclass(frozen=True)
class ExportRule(Record):
    """What is exported, and what it may lose.

    Attributes:
      formats: keys of `FORMATS`.
      int8_max_loss: in accuracy, in points, of `tflite_int8`.
    """

    formats: tuple[str, ...]
    int8_max_loss: float


def require_packages(formats: Iterable[str]) -> None:
    """Checks that what formats need is installed.

    Raises:
      ThawError: naming what is missing, and how to install it.
    """
    for name in formats:
        one = FORMATS[name]
        missing = [module for module in one.modules if importlib.util.find_spec(module) is None]
        if missing:
            packages = ", ".join(module.replace("_", "-") for module in missing)
            raise ThawError(
                f"{name} needs packages that are not installed: {packages}.",
                where="export.formats",
                to_do=f'Install them: pip install "thaw[{one.extra}]", or leave {name} out.',
            )
