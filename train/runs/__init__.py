"""Resumable runs: training of one or several models, cross-validation, hyper-parameter search."""
