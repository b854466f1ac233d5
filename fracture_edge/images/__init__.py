"""Reading of PNG, JPEG, TIFF, BMP, WebP, HEIC and DICOM files into grey images."""
