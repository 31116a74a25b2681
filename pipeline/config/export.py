"""What an exported model says besides its probabilities. Light to import."""

from pydantic import Field, NonNegativeFloat

from pipeline.config.section import Section


class Export(Section):
    """What the exported model says of an image besides its probabilities."""

    rejected_share: NonNegativeFloat = Field(
        0.02,
        le=0.5,
        description=(
            "Of images that are like the training images, at most this share is marked as unknown "
            "(is_known: false) by the served model; decided on the validation split. The larger, "
            "the more foreign images are recognised as such."
        ),
    )
