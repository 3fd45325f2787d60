"""Training of the network and of the release: data, backbone, fine-tuning, encoders, bundle, evaluation.

This package needs the extra ``securesplit[train]`` (TensorFlow). `securesplit` never imports it.
"""
