"""Losses `(y_true, y_pred)`: the weighted mean over all examples, one number, by Keras's names.

Reading order: `record`, `regression`, `classification`, `margin`, `ranking`, `sequence`.
"""

from chainrule.nn.losses.classification import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)
from chainrule.nn.losses.margin import (
    CategoricalHinge,
    Hinge,
    SquaredHinge,
    categorical_hinge,
    hinge,
    squared_hinge,
)
from chainrule.nn.losses.ranking import (
    Bpr,
    Triplet,
    bpr,
    sampled_softmax,
    triplet,
    triplet_margin,
)
from chainrule.nn.losses.record import (
    CHECKS,
    CLASSES,
    EDGE,
    LOSSES,
    Check,
    Loss,
    loss,
    register,
    takes_logits,
    weighted_mean,
    weights_by_class,
)
from chainrule.nn.losses.regression import (
    CosineSimilarity,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    cosine_similarity,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_squared_error,
    poisson,
)
from chainrule.nn.losses.sequence import CTC, ctc
