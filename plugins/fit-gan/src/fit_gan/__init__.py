"""fit-gan: adversarial training on the core's updates.

model = GAN(generator, discriminator, latent=64)
trainer = Trainer(model, optimizer=adversarial_updates(model, partial(Adam, lr=2e-4)), plugins=["gan"], train_data=images)
trainer.fit(epochs=50)

Names are imported when they are used, so that `fit hooks` reads this package's hooks without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fit_gan.adversarial import Adversarial
    from fit_gan.ema import GeneratorEMA
    from fit_gan.files import SampleFiles
    from fit_gan.keys import D_FAKE, D_REAL, FAKE, NOISE
    from fit_gan.losses import LOSSES, AdversarialLoss
    from fit_gan.model import GAN, adversarial_updates
    from fit_gan.samples import Samples
    from fit_gan.terms import R1, R2, ClassLoss, FeatureMatching, GradientPenalty, Term

__all__ = [
    "D_FAKE",
    "D_REAL",
    "FAKE",
    "GAN",
    "LOSSES",
    "NOISE",
    "R1",
    "R2",
    "Adversarial",
    "AdversarialLoss",
    "ClassLoss",
    "FeatureMatching",
    "GeneratorEMA",
    "GradientPenalty",
    "SampleFiles",
    "Samples",
    "Term",
    "adversarial_updates",
]

_HOMES = {
    "Adversarial": "adversarial",
    "AdversarialLoss": "losses",
    "ClassLoss": "terms",
    "D_FAKE": "keys",
    "D_REAL": "keys",
    "FAKE": "keys",
    "FeatureMatching": "terms",
    "GAN": "model",
    "GeneratorEMA": "ema",
    "GradientPenalty": "terms",
    "LOSSES": "losses",
    "NOISE": "keys",
    "R1": "terms",
    "R2": "terms",
    "SampleFiles": "files",
    "Samples": "samples",
    "Term": "terms",
    "adversarial_updates": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fit_gan' has no attribute {name!r}")
    return getattr(import_module(f"fit_gan.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
