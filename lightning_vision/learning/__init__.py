"""The network and how it learns: backbones, strategies, recipes, the classifier, trainers, checkpoints."""
