"""Training: data tables and splits, architectures, recipes and the loop. Needs the `[train]` extra."""

import os

# TensorFlow takes oneDNN's kernels by itself only where a processor has AVX-512 for whole numbers. `edge` trains
# more than twice as fast with them on one that stops at AVX2 (docs/training.md). Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
