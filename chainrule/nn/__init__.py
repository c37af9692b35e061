"""Modules and layers under Keras's names, initialisers, activations, losses.

Reading order: `randomness`, `initializers`, `activations`, `names`, `parts`, `inputs`,
`calls`, `module`, `regularizers`, `constraints`, `checks`, `dense`, `conv`, `depthwise`,
`pooling`, `shape`, `merge`, `normalisation`, `regularisation`, `augmentation`, `mixup`,
`embedding`, `attend`, `attention`, `signatures`, `cells`, `recurrent`, `around`, `losses`.
"""

from chainrule.nn import activations, constraints, initializers, losses, regularizers
from chainrule.nn.around import Bidirectional, TimeDistributed
from chainrule.nn.attend import dot_product_attention
from chainrule.nn.attention import MultiHeadAttention
from chainrule.nn.augmentation import (
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
)
from chainrule.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from chainrule.nn.conv import Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose
from chainrule.nn.dense import Activation, Dense
from chainrule.nn.depthwise import DepthwiseConv2D, SeparableConv2D
from chainrule.nn.embedding import Embedding
from chainrule.nn.merge import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Multiply,
    Residual,
    Subtract,
    run_chain,
)
from chainrule.nn.mixup import MixUp
from chainrule.nn.module import Module
from chainrule.nn.names import number_names
from chainrule.nn.normalisation import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
)
from chainrule.nn.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from chainrule.nn.randomness import layer_key, random_scope, seeded
from chainrule.nn.recurrent import GRU, LSTM, RNN, SimpleRNN
from chainrule.nn.regularisation import Dropout, GaussianNoise, SpatialDropout2D
from chainrule.nn.regularizers import penalty
from chainrule.nn.shape import Flatten, Permute, Reshape, UpSampling2D, ZeroPadding2D

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "LSTMCell",
    "LayerNormalization",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "MixUp",
    "Module",
    "MultiHeadAttention",
    "Multiply",
    "Permute",
    "RMSNormalization",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "Reshape",
    "Residual",
    "SeparableConv2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "SpatialDropout2D",
    "Subtract",
    "TimeDistributed",
    "UpSampling2D",
    "ZeroPadding2D",
    "activations",
    "constraints",
    "dot_product_attention",
    "initializers",
    "layer_key",
    "losses",
    "number_names",
    "penalty",
    "random_scope",
    "regularizers",
    "run_chain",
    "seeded",
]
