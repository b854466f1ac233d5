"""DICOM gateway: receives images, classifies them, and sends the results to archives (extra `[pacs]`)."""
