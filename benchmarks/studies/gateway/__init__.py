"""The gateway between real DICOM programs: kills, hostile senders, load. Needs Orthanc and dcmtk."""
