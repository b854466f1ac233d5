"""Predictions and what they are worth: metrics with intervals, calibration, operating points, plots."""
