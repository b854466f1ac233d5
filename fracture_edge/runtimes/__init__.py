"""Runtimes of model files, and the threads that they and the preprocessing share."""
