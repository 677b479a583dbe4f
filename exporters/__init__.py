"""The PyTorch side: model definitions, checkpoints and export. Nothing else in edgemtl imports torch."""
