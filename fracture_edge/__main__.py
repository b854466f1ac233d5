"""`python -m fracture_edge` is `fracture-edge`."""

from fracture_edge.cli import run

run()
