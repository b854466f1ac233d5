"""Image files: reading PNG, JPEG, TIFF, BMP, WebP, HEIC and DICOM into grey pixels."""
