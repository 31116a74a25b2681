"""The exported model: what it says besides its probabilities, and its other formats.

Light to import.
"""

from typing import Literal

from pydantic import Field, NonNegativeFloat, field_validator
from pydantic_core import PydanticCustomError

from pipeline.config.section import Section

FormatName = Literal["tflite", "tflite_float16", "tflite_int8", "onnx"]


class Export(Section):
    """What the exported model says of an image besides its probabilities; other formats of it."""

    rejected_share: NonNegativeFloat = Field(
        0.02,
        le=0.5,
        description=(
            "Of images that are like the training images, at most this share is marked as unknown "
            "(is_known: false) by the served model; decided on the validation split. The larger, "
            "the more foreign images are recognised as such."
        ),
    )
    formats: list[FormatName] = Field(
        default_factory=list,
        description=(
            "Formats that a pushed model is also exported to: tflite (float32), tflite_float16, "
            "tflite_int8 (integers throughout) and onnx. Each is asked about every test image, and "
            "kept if it answers as the model does. The first three need thaw[tflite], the last "
            "thaw[onnx]; docs/exports.md tells more."
        ),
    )
    int8_max_loss: NonNegativeFloat = Field(
        1.0,
        le=100,
        description=(
            "Accuracy that the export tflite_int8 may lose on the test images, in points; if it "
            "loses more, it is not pushed."
        ),
    )

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: list[FormatName]) -> list[FormatName]:
        if len(set(formats)) < len(formats):
            raise PydanticCustomError("each_once", "It should name each format once.")
        return formats
