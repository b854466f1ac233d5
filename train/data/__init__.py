"""Data sets of labelled images: reading, auditing, splitting, loading and augmentation."""
