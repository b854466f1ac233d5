"""Comparison of the page in a browser with the program."""
