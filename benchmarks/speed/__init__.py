"""Measurement of latency, start-up time and memory."""
