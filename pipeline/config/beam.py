"""How Beam runs the data steps: the config's section `beam`."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.config.section import Section


def _is_option(option: str) -> str:
    if not option.startswith("--"):
        raise PydanticCustomError(
            "beam_option", "An option starts with --, as in --direct_num_workers=2."
        )
    return option


BeamOption = Annotated[str, AfterValidator(_is_option)]


class BeamNodes(Section):
    """Options of single nodes. They come after `beam.options` and win over them."""

    ImageExampleGen: list[BeamOption] = Field([], description="Of listing and checking images.")
    StatisticsGen: list[BeamOption] = Field([], description="Of the statistics.")
    Transform: list[BeamOption] = Field([], description="Of decoding and resizing.")
    TrunkFeatures: list[BeamOption] = Field([], description="Of the frozen trunk.")
    Evaluator: list[BeamOption] = Field([], description="Of the evaluation.")


class Beam(Section):
    """How data steps run. No result depends on it, so no step runs again for it."""

    options: list[BeamOption] = Field(
        default_factory=list,
        description="Pipeline options handed to Apache Beam, such as --direct_num_workers=2.",
    )
    nodes: BeamNodes = Field(default_factory=BeamNodes, description="Options of single nodes.")
