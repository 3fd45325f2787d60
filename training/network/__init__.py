"""The network: configurations, batches, augmentation, training, and what a run leaves behind."""
