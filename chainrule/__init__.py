"""chainrule: deep learning in Python that shows its work.

One graph, three readings: run it, differentiate it, explain it.

Reading order of the engine, each file naming the next: `core/errors`, `core/dtypes`, `core/op`,
`core/node`, `core/graph`, `core/recording`, `core/tree`, `core/tensor`, `ops/elementwise`,
`ops/reduce`, `ops/move`, `ops/linear`, `ops/window`, `grad/reverse`, `grad/forward`,
`grad/vmap`, `rewrite/engine`, `compile/fuse`, `compile/memory`, `compile/kernel`,
`compile/llvm`, `compile/axes`, `compile/loops`, `compile/product`, `compile/runtime`,
`compile/threads`, `compile/module`, `compile/program`, `compile/jit`.
"""

from chainrule import nn
from chainrule.compile.jit import jit
from chainrule.core import errors
from chainrule.core.dtypes import as_dtype
from chainrule.core.errors import (
    ArgumentError,
    ChainruleError,
    DataError,
    DonatedError,
    DtypeError,
    FileError,
    GradientError,
    ShapeError,
    TraceError,
    UnknownNameError,
)
from chainrule.core.graph import Graph, parse
from chainrule.core.recording import record
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten, register_tree, tree_map, unflatten
from chainrule.grad.branches import checkpoint, cond
from chainrule.grad.check import check_gradient
from chainrule.grad.custom import custom_gradient
from chainrule.grad.forward import hvp, jvp
from chainrule.grad.jacobian import hessian, jacobian
from chainrule.grad.path import why_no_grad
from chainrule.grad.reverse import grad, gradient, value_and_grad, vjp
from chainrule.grad.rows import Rows
from chainrule.grad.scan import scan
from chainrule.grad.vmap import vmap
from chainrule.ops.activations import elu, gelu, leaky_relu, selu, silu
from chainrule.ops.angles import arccos, arcsin, arctan, arctan2, cos, sin, tan
from chainrule.ops.arrange import (
    concatenate,
    flip,
    meshgrid,
    moveaxis,
    pad,
    permute_dims,
    repeat,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    tril,
    triu,
)
from chainrule.ops.composite import log_softmax, min, softmax, softplus, var
from chainrule.ops.convolve import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    depthwise_conv2d,
)
from chainrule.ops.cumulate import cumprod, cumsum
from chainrule.ops.draws import categorical, normal, permutation, randint, truncated_normal
from chainrule.ops.einsum import einsum, tensordot, vecdot
from chainrule.ops.elementwise import (
    absolute as abs,
)
from chainrule.ops.elementwise import (
    add,
    cast,
    divide,
    equal,
    exp,
    greater,
    isfinite,
    less,
    log,
    maximum,
    multiply,
    negative,
    power,
    relu,
    sigmoid,
    sqrt,
    stop_gradient,
    subtract,
    tanh,
    where,
)
from chainrule.ops.index import arange, one_hot, scatter_add, take
from chainrule.ops.linalg import cholesky, inv, norm, slogdet, solve
from chainrule.ops.linear import contract, dot, matmul, outer
from chainrule.ops.logic import (
    greater_equal,
    isnan,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
)
from chainrule.ops.move import broadcast_to, expand_dims, reshape, transpose
from chainrule.ops.order import argsort, segment_sum, sort, take_along_axis, top_k
from chainrule.ops.pool import average_pool1d, average_pool2d, max_pool1d, max_pool2d
from chainrule.ops.random import bernoulli, fold_in, key, uniform
from chainrule.ops.reduce import max, mean, sum
from chainrule.ops.resize import resize
from chainrule.ops.rounding import ceil, clip, floor, minimum, remainder, round, sign
from chainrule.ops.smooth import (
    arccosh,
    arcsinh,
    arctanh,
    cosh,
    erf,
    expm1,
    log1p,
    logaddexp,
    rsqrt,
    sinh,
    square,
)
from chainrule.ops.statistics import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    prod,
    std,
)
from chainrule.train import (
    BackupAndRestore,
    Callback,
    Converged,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    Model,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Sequential,
    TerminateOnNaN,
    UseAverage,
    metrics,
    optim,
    schedules,
)

__version__ = "0.1.0"
