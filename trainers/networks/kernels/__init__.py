"""The two operations that a few-shot network spends its time in, with their second derivatives written out.

torch differentiates its batch norm and its grouped convolution twice by formulas that were measured to take up to 40 %
of an iteration, and loses the channels-last layout on the way. Here the backward pass is a function of its own whose
derivative is the closed form, in few passes over memory.
"""

from metaprobe.trainers.networks.kernels.compiling import traceable
from metaprobe.trainers.networks.kernels.convolution import convolve
from metaprobe.trainers.networks.kernels.norm_relu import norm_relu

__all__ = ["convolve", "norm_relu", "traceable"]
