"""`fracture-edge doctor`: whether the installation is in order, and how fast the device is."""
