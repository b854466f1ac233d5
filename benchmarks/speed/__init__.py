"""Latency, start-up and memory."""
