"""A small model that knows bright from dark, with the signature of a pushed one."""

from pathlib import Path


def save_bright_model(folder: Path) -> None:
    """Like models of earlier versions, it reads beyond the end of a file of few bytes."""
    import tensorflow as tf

    class Bright(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes):
            def share(encoded):
                head, rest = (tf.strings.substr(encoded, *part) for part in [(0, 12), (12, 10**6)])
                encoded = tf.strings.join([head, rest])
                image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(image, tf.float32)) / 255

            bright = tf.map_fn(share, image_bytes, fn_output_signature=tf.float32)
            label = tf.cast(bright > 0.5, tf.int64)
            return {
                "probabilities": tf.stack([1 - bright, bright], axis=1),
                "label_id": label,
                "class_name": tf.gather(["dark", "bright"], label),
                "class_names": tf.tile([["dark", "bright"]], [tf.shape(image_bytes)[0], 1]),
            }

    module = Bright()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
