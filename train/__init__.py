"""Training: data tables and splits, architectures, recipes and the loop. Needs the `[train]` extra."""

import os

# TensorFlow takes oneDNN's kernels by itself only where a processor has AVX-512 for whole numbers; on one that
# stops at AVX2 `edge` trains three times as fast with them (docs/training.md). Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
