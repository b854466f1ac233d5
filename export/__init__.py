"""Export of ``artifacts/<model>/model.keras`` to the files that devices run. Requires the `[export]` extra."""

import train  # noqa: F401 -- must be imported before TensorFlow: it selects the kernels
