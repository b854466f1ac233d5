"""The HTTP server: classification over HTTP, the page, health and metrics. Needs the extra `[serve]`."""
