"""Checks of the installation and speed of the device, for `fracture-edge doctor`."""
