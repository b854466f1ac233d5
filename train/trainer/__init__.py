"""Training of one network: loop, callbacks, batch norms, linear probing."""
