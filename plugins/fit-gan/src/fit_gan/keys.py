"""What the plugins of this package share about a batch."""

from typing import Any

from torch import Tensor

from fit_core import StateKey

NOISE: StateKey[Tensor] = StateKey("noise")
"""What the generator made the batch's fakes of: (batch, latent)."""

FAKE: StateKey[Tensor] = StateKey("fake")
"""What the generator made, with its graph where the generator is trained on this batch."""

D_REAL: StateKey[Any] = StateKey("d_real")
"""What the discriminator returned for the real samples."""

D_FAKE: StateKey[Any] = StateKey("d_fake")
"""What the discriminator returned for the fakes, in the update at work."""
