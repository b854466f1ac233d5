"""Export: from ``artifacts/<model>/model.keras`` to the files that devices run. Needs the `[export]` extra."""

import train  # noqa: F401 -- before TensorFlow: it chooses the kernels
