"""Generated parts of the documents, made from the measured results."""
