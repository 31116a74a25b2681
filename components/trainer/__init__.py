"""TFX's Trainer, by one worker or by several that train together."""
