"""Conversion of a network to the formats of the runtimes, in float and in int8."""
