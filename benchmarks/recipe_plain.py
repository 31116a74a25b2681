"""The recipe as Keras documents it; run as a child of a comparison with it.

After "Fine-tune InceptionV3 on a new set of classes" (keras.io/api/applications) and the
guide "Transfer learning & fine-tuning": images from class folders, `preprocess_input`
and the backbone in inference mode inside the model, a head, two fits.
"""

import json
import os
import sys
import time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf
import tf_keras as keras

from benchmarks.common import seconds_since_start
from benchmarks.recipe_data import Recipe
from trainer.backbones.networks import load_backbone, preprocess_input
from trainer.backbones.table import BACKBONES


def load_split(recipe: Recipe, split: str, shuffle: bool) -> tf.data.Dataset:
    """Batches of float32 [batch, size, size, 3] in 0 to 255 and one-hot labels."""
    images = keras.utils.image_dataset_from_directory(
        recipe.images / split,
        label_mode="categorical",
        image_size=(recipe.size_px, recipe.size_px),
        batch_size=recipe.batch_size,
        shuffle=shuffle,
        seed=recipe.seed,
    )
    return images.prefetch(tf.data.AUTOTUNE)


def build(recipe: Recipe, num_classes: int) -> tuple[keras.Model, keras.Model]:
    """The whole model and the backbone inside it."""
    size = (recipe.size_px, recipe.size_px, 3)
    base_model = load_backbone(recipe.backbone, recipe.size_px, str(recipe.weights))
    base_model.trainable = False
    inputs = keras.Input(size)
    x = preprocess_input(BACKBONES[recipe.backbone])(inputs)
    x = base_model(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(1024, activation="relu")(x)
    outputs = keras.layers.Dense(num_classes, activation="softmax", dtype="float32")(x)
    return keras.Model(inputs, outputs), base_model


def main(recipe: Recipe) -> None:
    """Fits twice; prints seconds and accuracies on the test images."""
    imported = seconds_since_start()
    keras.utils.set_random_seed(recipe.seed)
    if recipe.precision != "float32":
        keras.mixed_precision.set_global_policy(f"mixed_{recipe.precision}")
    train = load_split(recipe, "train", shuffle=True)
    val = load_split(recipe, "val", shuffle=False)
    test = load_split(recipe, "test", shuffle=False)
    model, base_model = build(recipe, train.element_spec[1].shape[-1])
    fits, accuracies, judging = [], [], 0.0
    epochs: list[dict[str, float]] = []

    def note_epoch(epoch: int, logs: dict[str, float]) -> None:
        epochs.append({"seconds": seconds_since_start() - judging, "val_loss": logs["val_loss"]})

    def fit(optimizer: keras.optimizers.Optimizer) -> None:
        nonlocal judging
        model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
        started = time.monotonic()
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=note_epoch)]
        if recipe.patience:
            callbacks.append(
                keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)
            )
        model.fit(train, validation_data=val, epochs=recipe.epochs, verbose=2, callbacks=callbacks)
        fitted = time.monotonic()
        accuracies.append(model.evaluate(test, verbose=0)[1])
        fits.append(fitted - started)
        judging += time.monotonic() - fitted

    fit(keras.optimizers.RMSprop())
    base_model.trainable = True
    names = [layer.name for layer in base_model.layers]
    for layer in base_model.layers[: names.index(recipe.boundary_layer) + 1]:
        layer.trainable = False
    fit(keras.optimizers.SGD(1e-4, momentum=0.9))
    result = {
        "seconds": seconds_since_start() - judging,
        "import_seconds": imported,
        "work_seconds": sum(fits),
        "stages": {"head": fits[0], "fine_tune": fits[1]},
        "accuracy": {"head": accuracies[0], "fine_tune": accuracies[1]},
        "epochs": epochs,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Recipe.from_json(sys.argv[1]))
