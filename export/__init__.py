"""Export: from ``artifacts/<model>/model.keras`` to the files that devices run. Needs the `[export]` extra."""
