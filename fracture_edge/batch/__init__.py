"""Classification of many images: input files, records, resumable output, and watching a folder."""
