"""Many images: which files, their records, output that survives an interruption, and folders that fill."""
