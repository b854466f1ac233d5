"""The same files on other processors, emulated."""
