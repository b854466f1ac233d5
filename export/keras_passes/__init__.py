"""Rewrites of a Keras model before conversion, and of the bias after it."""
