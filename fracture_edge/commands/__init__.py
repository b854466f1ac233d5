"""Commands of the device, and the registry of all commands."""
