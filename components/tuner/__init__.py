"""The search for hyper-parameters, as a TFX node."""
