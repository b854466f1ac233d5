"""Passes that rewrite a Keras model for export."""
