"""The recipe: backbones, preprocessing, the two fits, export. Knows nothing of TFX.

Keras is chosen here, once, for every process of the project: TensorFlow, TFX, TFT and
TFMA all follow `TF_USE_LEGACY_KERAS`, and `MultiWorkerMirroredStrategy` trains with
`tf_keras` but not with Keras 3. It must be set before anything touches `tf.keras`.
"""

import os

LEGACY_KERAS = {"TF_USE_LEGACY_KERAS": "1"}

os.environ.update(LEGACY_KERAS)
