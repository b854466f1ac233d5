"""The training of one network: loop, callbacks, batch norms, linear probe, distillation."""
