"""The backbones Thaw knows: where they come from and where they may be cut.

Facts only, no TensorFlow: the config and the command line read this table before
anything heavy is imported. `trainer.backbones.networks` builds the networks.
"""

from dataclasses import dataclass

_WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True)
class Backbone:
    """One pre-trained network of `tf_keras.applications`.

    Attributes:
      name: how a config names it.
      module: module of `tf_keras.applications` that holds it and its `preprocess_input`.
      builder: the function in that module.
      default_size_px: image side it was pre-trained at.
      min_size_px: smallest side it can be built for.
      blocks: boundary name -> name of the layer that ends that block, lowest first.
        Every layer after such a layer depends on the input through it alone.
      default_boundary: leaves the top two blocks to train.
      imagenet_file_pattern: file that tf_keras keeps under `~/.keras/models`. May hold
        `{size}`, for a backbone with weights of its own at `imagenet_sizes_px`.
      imagenet_folder: folder of that file at the publisher's.
    """

    name: str
    module: str
    builder: str
    default_size_px: int
    min_size_px: int
    blocks: dict[str, str]
    default_boundary: str
    imagenet_file_pattern: str
    imagenet_folder: str
    imagenet_sizes_px: tuple[int, ...] = ()

    @property
    def boundaries(self) -> tuple[str, ...]:
        """Names a config may give as boundary, lowest first."""
        return tuple(self.blocks)

    def imagenet_file(self, size_px: int) -> str:
        """File name of the ImageNet weights (without top) for images of this side."""
        size = size_px if size_px in self.imagenet_sizes_px else self.default_size_px
        return self.imagenet_file_pattern.format(size=size)

    def imagenet_url(self, size_px: int) -> str:
        """Where tf_keras downloads that file from."""
        return _WEIGHTS_URL + self.imagenet_folder + self.imagenet_file(size_px)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_MOBILENET_PLAIN = {1, 3, 6, 10, 13}  # these blocks change shape: no residual add ends them

# Stages and their blocks; the last block of all is never a boundary.
_CONVNEXT_BLOCKS = [(s, b) for s, count in enumerate((3, 3, 9, 3)) for b in range(count)][:-1]
_RESNET_RS_BLOCKS = [(g, b) for g, count in enumerate((3, 4, 6, 3), 2) for b in range(count)][:-1]

_TABLE = (
    Backbone(
        name="inception_v3",
        module="inception_v3",
        builder="InceptionV3",
        default_size_px=299,
        min_size_px=75,
        blocks=_same(*(f"mixed{i}" for i in range(10))),
        default_boundary="mixed8",
        imagenet_file_pattern="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="inception_v3/",
    ),
    Backbone(
        name="xception",
        module="xception",
        builder="Xception",
        default_size_px=299,
        min_size_px=71,
        # Keras numbers these sums itself: `add` ends block 2, `add_11` block 13.
        blocks={f"block{i + 2}": f"add_{i}" if i else "add" for i in range(12)},
        default_boundary="block12",
        imagenet_file_pattern="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="xception/",
    ),
    Backbone(
        name="mobilenet_v2",
        module="mobilenet_v2",
        builder="MobileNetV2",
        default_size_px=224,
        min_size_px=32,
        blocks=_same(
            *(
                f"block_{i}_project_BN" if i in _MOBILENET_PLAIN else f"block_{i}_add"
                for i in range(1, 16)
            )
        ),
        default_boundary="block_14_add",
        imagenet_file_pattern="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5",
        imagenet_folder="mobilenet_v2/",
        imagenet_sizes_px=(96, 128, 160, 192, 224),
    ),
    Backbone(
        name="efficientnet_v2_b0",
        module="efficientnet_v2",
        builder="EfficientNetV2B0",
        default_size_px=224,
        min_size_px=32,
        blocks=_same(
            "block1a_project_activation",
            "block2b_add",
            "block3b_add",
            "block4c_add",
            "block5e_add",
            "block6a_project_bn",
            *(f"block6{letter}_add" for letter in "bcdefg"),
        ),
        default_boundary="block6f_add",
        imagenet_file_pattern="efficientnetv2-b0_notop.h5",
        imagenet_folder="efficientnet_v2/",
    ),
    Backbone(
        name="efficientnet_v2_b3",
        module="efficientnet_v2",
        builder="EfficientNetV2B3",
        default_size_px=300,
        min_size_px=32,
        blocks=_same(
            "block1b_add",
            "block2c_add",
            "block3c_add",
            "block4e_add",
            "block5g_add",
            "block6a_project_bn",
            *(f"block6{letter}_add" for letter in "bcdefghijk"),
        ),
        default_boundary="block6j_add",
        imagenet_file_pattern="efficientnetv2-b3_notop.h5",
        imagenet_folder="efficientnet_v2/",
    ),
    Backbone(
        name="efficientnet_v2_s",
        module="efficientnet_v2",
        builder="EfficientNetV2S",
        default_size_px=384,
        min_size_px=32,
        blocks=_same(
            "block1b_add",
            "block2d_add",
            "block3d_add",
            "block4f_add",
            "block5i_add",
            "block6a_project_bn",
            *(f"block6{letter}_add" for letter in "bcdefghijklmn"),
        ),
        default_boundary="block6m_add",
        imagenet_file_pattern="efficientnetv2-s_notop.h5",
        imagenet_folder="efficientnet_v2/",
    ),
    Backbone(
        name="convnext_tiny",
        module="convnext",
        builder="ConvNeXtTiny",
        default_size_px=224,
        min_size_px=32,
        # Keras numbers these sums itself, through all four stages.
        blocks={
            f"stage{stage}_block{block}": "tf.__operators__.add" + (f"_{place}" if place else "")
            for place, (stage, block) in enumerate(_CONVNEXT_BLOCKS)
        },
        default_boundary="stage3_block0",
        imagenet_file_pattern="convnext_tiny_notop.h5",
        imagenet_folder="convnext/",
    ),
    Backbone(
        name="resnet_rs50",
        module="resnet_rs",
        builder="ResNetRS50",
        default_size_px=160,
        min_size_px=32,
        blocks={
            f"group{group}_block{block}": f"BlockGroup{group}__block_{block}__output_act"
            for group, block in _RESNET_RS_BLOCKS
        },
        default_boundary="group5_block0",
        imagenet_file_pattern="resnet-rs-50-i160_notop.h5",
        imagenet_folder="resnet_rs/",
    ),
    Backbone(
        name="resnet50_v2",
        module="resnet_v2",
        builder="ResNet50V2",
        default_size_px=224,
        min_size_px=32,
        blocks=_same(
            *(f"conv2_block{i}_out" for i in range(1, 4)),
            *(f"conv3_block{i}_out" for i in range(1, 5)),
            *(f"conv4_block{i}_out" for i in range(1, 7)),
            *(f"conv5_block{i}_out" for i in range(1, 3)),
        ),
        default_boundary="conv5_block1_out",
        imagenet_file_pattern="resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        imagenet_folder="resnet/",
    ),
)

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _TABLE}
