"""Whole runs, resumable: one model, a cross-validation, a search, all models."""
