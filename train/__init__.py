"""Training: data tables and splits, architectures, recipes and the loop. Needs the `[train]` extra."""

import os

# By default TensorFlow uses oneDNN's kernels only on processors with AVX-512 VNNI (integers). `edge` trains more
# than twice as fast with them on one with AVX2 only (docs/training.md). Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
