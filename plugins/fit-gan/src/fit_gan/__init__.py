"""fit-gan: adversarial training on the core's updates.

model = GAN(generator, discriminator, latent=64)
trainer = Trainer(model, optimizer=adversarial_updates(model, partial(Adam, lr=2e-4)), plugins=["gan"], train_data=images)
trainer.fit(epochs=50)
"""

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
