"""The bundle `gan`."""

from typing import Any


def gan(loss: str = "non-saturating", ema: float | None = None, samples: int = 64) -> list[tuple[str, dict[str, Any]]]:
    """Train `trainer.model.generator` against `trainer.model.discriminator`, and keep pictures of what is made.

    Args:
        loss: "minimax", "non-saturating", "least-squares", "hinge" or "wasserstein".
        ema: the decay of an average of the generator's weights, which samples are made with.
        samples: how many samples a picture has; 0 for none.
    """
    return [
        ("adversarial", {"loss": loss}),
        *([("generator-ema", {"decay": ema})] if ema is not None else []),
        *([("samples", {"count": samples}), ("sample-files", {})] if samples else []),
    ]
