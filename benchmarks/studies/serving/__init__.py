"""The HTTP server: broken requests, slow clients, picture bombs, equality, latency, throughput."""
