"""Evaluation of predictions: metrics with intervals, calibration, operating points, plots."""
