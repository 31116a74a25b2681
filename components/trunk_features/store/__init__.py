"""What trunks have made of images, kept by the pixels so that later runs need not make it again.

Below a store stands one folder for each trunk, named by its fingerprint, and in it segments: a file
of tensors and an index of it, both written once. See docs/features.md.
"""
