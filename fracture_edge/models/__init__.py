"""The embedded model and its model card."""
