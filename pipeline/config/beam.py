"""How Beam runs the data steps: the config's section `beam`."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.config.section import Section


def _is_option(option: str) -> str:
    if not option.startswith("--"):
        raise PydanticCustomError(
            "beam_option", "An option starts with --, such as --direct_num_workers=2."
        )
    return option


BeamOption = Annotated[str, AfterValidator(_is_option)]


class BeamNodes(Section):
    """Options for single nodes. They are added after `beam.options` and override them."""

    ImageExampleGen: list[BeamOption] = Field(
        [], description="Options for ImageExampleGen, which lists, checks and splits the images."
    )
    StatisticsGen: list[BeamOption] = Field(
        [], description="Options for StatisticsGen, which computes the statistics of each split."
    )
    Transform: list[BeamOption] = Field(
        [], description="Options for Transform, which decodes and resizes the images."
    )
    TrunkFeatures: list[BeamOption] = Field(
        [], description="Options for TrunkFeatures, which runs the frozen trunk."
    )
    CrossFitter: list[BeamOption] = Field(
        [], description="Options for CrossFitter, which repeats both fits on folds of the images."
    )
    Evaluator: list[BeamOption] = Field(
        [], description="Options for Evaluator, which evaluates both models on the test split."
    )


class Beam(Section):
    """How Apache Beam runs the data steps. It changes no result, so `thaw run` repeats no node."""

    options: list[BeamOption] = Field(
        default_factory=list,
        description="Apache Beam options for all data steps, such as --direct_num_workers=2.",
    )
    nodes: BeamNodes = Field(default_factory=BeamNodes, description="Options for single nodes.")
