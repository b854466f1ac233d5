"""Results as DICOM objects in the source's study: a Secondary Capture and a Structured Report (extra `[pacs]`)."""
