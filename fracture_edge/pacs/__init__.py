"""DICOM results for a PACS: result objects, and the gateway that receives images and sends them."""
