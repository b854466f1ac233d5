"""Measured figures filled into the documents."""
