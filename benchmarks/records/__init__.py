"""What RUN.json holds, as typed records."""
