"""fit-optim: what happens to gradients and weights around a step."""

from fit_optim.clip import Clip
from fit_optim.decay_groups import DecayGroups
from fit_optim.ema import EMA
from fit_optim.freeze import Freeze
from fit_optim.grad_centralization import GradCentralization
from fit_optim.grad_noise import GradNoise
from fit_optim.initial import Init
from fit_optim.layer_lr import LayerLR
from fit_optim.swa import SWA
from fit_optim.weight_decay import WeightDecay

__all__ = ["EMA", "SWA", "Clip", "DecayGroups", "Freeze", "GradCentralization", "GradNoise", "Init", "LayerLR", "WeightDecay"]
