"""Labelled images: finding, auditing, splitting, loading and augmenting them."""
