"""Run `fracture-edge` as `python -m fracture_edge`."""

from fracture_edge.cli import run

run()
