"""Gradients at inputs: what a class looks like, and what a prediction rests on. Gradients of parameters are never touched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]

ORANGE = (0.835, 0.369, 0.0)
"""Okabe and Ito's vermillion: seen on grey by the colour-blind too."""


def appearance(
    model: Model, classes: Tensor, start: Tensor, steps: int, lr: float, decay: float, transform: Model | None = None
) -> tuple[Tensor, Tensor]:
    """Change pictures by gradient ascent until classes are as likely as can be (Simonyan et al. 2014, section 2).

    What is made larger is the score of the class, minus `decay` times the sum of the squares of the picture, by Adam.

    Args:
        model: in eval mode, `(count, ...) -> (count, classes)` scores.
        classes: (count,) which class each picture is of.
        start: (count, channels, height, width), or flat.
        steps: how many.
        lr: the learning rate.
        decay: how much large values cost.
        transform: what is done to pictures before the model sees them: small shifts, say.

    Returns:
        The pictures, and the scores that the model gives the transformed ones, (count, classes).
    """
    pictures = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([pictures], lr=lr)
    transform = transform or torch.clone  # layers that work in place must not meet the pictures themselves
    with torch.enable_grad():
        for _ in range(steps):
            wanted = model(transform(pictures)).gather(1, classes[:, None]).sum()
            pictures.grad = torch.autograd.grad(decay * pictures.square().sum() - wanted, pictures)[0]
            optimizer.step()
    with torch.no_grad():
        return pictures.detach(), model(transform(pictures.detach())).detach()


def saliency(model: Model, inputs: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return how much each place of each input changes the score of a class (Simonyan et al. 2014, section 3).

    Args:
        model: in eval mode, `(count, ...) -> (count, classes)` scores, or (count,) or (count, 1) of an event.
        inputs: (count, ...).
        classes: (count,), where those below 0 are none; or a weight for each class, (count, classes), such as 1 for those that are right;
            None: the class that the model says.

    Returns:
        The magnitude of the gradient at each input, (count, ...), and the scores.
    """
    inputs = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        scores = model(inputs.clone())
        if scores.dim() == 2 and scores.shape[1] > 1:
            classes = scores.argmax(1) if classes is None else classes
            wanted = (scores * weights(classes, scores)).sum()
        else:
            wanted = scores.sum()
        gradient = torch.autograd.grad(wanted, inputs)[0]
    return gradient.abs(), scores.detach()


def weights(classes: Tensor, scores: Tensor) -> Tensor:
    """Return what each score counts, (count, classes): as `classes` say, see `saliency`."""
    if classes.shape == scores.shape:
        return classes.to(scores.dtype)
    chosen = torch.zeros_like(scores).scatter(1, classes.clamp(min=0)[:, None], 1)
    return chosen * (classes >= 0)[:, None]


def overlaid(pictures: Tensor, maps: Tensor, strength: float = 0.9) -> Tensor:
    """Lay maps over grey pictures in colour.

    Args:
        pictures: (count, channels, height, width), 0 to 1.
        maps: (count, height, width), 0 to 1.
        strength: how opaque a 1 is.

    Returns:
        (count, 3, height, width).
    """
    opaque = strength * maps[:, None]
    colours = torch.tensor(ORANGE, device=maps.device).reshape(1, 3, 1, 1)
    return pictures.mean(1, keepdim=True) * (1 - opaque) + colours * opaque
