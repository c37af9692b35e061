"""Modules and layers under Keras's names, initialisers, activations, losses.

Reading order: `randomness`, `initializers`, `activations`, `names`, `parts`, `inputs`, `module`,
`checks`, `dense`, `conv`, `shape`, `normalisation`, `regularisation`, `losses`.
"""

from chainrule.nn import activations, initializers, losses
from chainrule.nn.conv import Conv2D, MaxPooling2D
from chainrule.nn.dense import Activation, Dense
from chainrule.nn.module import Module
from chainrule.nn.names import number_names
from chainrule.nn.normalisation import BatchNormalization
from chainrule.nn.randomness import layer_key, random_scope, seeded
from chainrule.nn.regularisation import Dropout
from chainrule.nn.shape import Flatten

__all__ = [
    "Activation",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "MaxPooling2D",
    "Module",
    "activations",
    "initializers",
    "layer_key",
    "losses",
    "number_names",
    "random_scope",
    "seeded",
]
