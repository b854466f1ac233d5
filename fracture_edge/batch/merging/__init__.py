"""Merging of record files that several runs of `classify` have written."""
