"""Modules and layers under Keras's names, initialisers, activations, losses."""

from chainrule.nn import losses
from chainrule.nn.activations import Activation, activation
from chainrule.nn.conv import Conv2D, Flatten, MaxPooling2D
from chainrule.nn.dense import Dense
from chainrule.nn.initializers import initializer
from chainrule.nn.module import Module, seeded
from chainrule.nn.normalisation import BatchNormalization
from chainrule.nn.randomness import layer_key, random_scope
from chainrule.nn.regularisation import Dropout

__all__ = [
    "Activation",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "MaxPooling2D",
    "Module",
    "activation",
    "initializer",
    "layer_key",
    "losses",
    "random_scope",
    "seeded",
]
