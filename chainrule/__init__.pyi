"""What `chainrule` offers and where it lives: read by type checkers, and by `__init__.py`, which
imports a name when it is first asked for."""

from chainrule import (
    data as data,
    nn as nn,
)
from chainrule.compile.jit import (
    jit as jit,
)
from chainrule.compile.replay import (
    find_nonfinite as find_nonfinite,
)
from chainrule.core import (
    errors as errors,
)
from chainrule.core.dtypes import (
    as_dtype as as_dtype,
)
from chainrule.core.errors import (
    ArgumentError as ArgumentError,
    ChainruleError as ChainruleError,
    DataError as DataError,
    DonatedError as DonatedError,
    DtypeError as DtypeError,
    FileError as FileError,
    GradientError as GradientError,
    ShapeError as ShapeError,
    TraceError as TraceError,
    UnknownNameError as UnknownNameError,
)
from chainrule.core.graph import (
    Graph as Graph,
    parse as parse,
)
from chainrule.core.recording import (
    record as record,
)
from chainrule.core.tensor import (
    State as State,
    Tensor as Tensor,
)
from chainrule.core.tree import (
    flatten as flatten,
    register_tree as register_tree,
    tree_map as tree_map,
    unflatten as unflatten,
)
from chainrule.explain.derivation import (
    Derivation as Derivation,
    derivation as derivation,
)
from chainrule.explain.explain import (
    explain as explain,
)
from chainrule.explain.explanation import (
    Explanation as Explanation,
)
from chainrule.explain.influence import (
    influence as influence,
)
from chainrule.explain.layers import (
    layer_strip as layer_strip,
)
from chainrule.explain.methods import (
    Model as Model,
    Sequential as Sequential,
)
from chainrule.explain.student import (
    Verdict as Verdict,
    check_derivation as check_derivation,
)
from chainrule.grad.branches import (
    checkpoint as checkpoint,
    cond as cond,
)
from chainrule.grad.check import (
    check_gradient as check_gradient,
)
from chainrule.grad.custom import (
    custom_gradient as custom_gradient,
)
from chainrule.grad.forward import (
    hvp as hvp,
    jvp as jvp,
)
from chainrule.grad.jacobian import (
    hessian as hessian,
    jacobian as jacobian,
)
from chainrule.grad.path import (
    why_no_grad as why_no_grad,
)
from chainrule.grad.reverse import (
    grad as grad,
    gradient as gradient,
    value_and_grad as value_and_grad,
    vjp as vjp,
)
from chainrule.grad.rows import (
    Rows as Rows,
)
from chainrule.grad.scan import (
    scan as scan,
)
from chainrule.grad.vmap import (
    vmap as vmap,
)
from chainrule.ops.activations import (
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    selu as selu,
    silu as silu,
)
from chainrule.ops.angles import (
    arccos as arccos,
    arcsin as arcsin,
    arctan as arctan,
    arctan2 as arctan2,
    cos as cos,
    sin as sin,
    tan as tan,
)
from chainrule.ops.arrange import (
    concatenate as concatenate,
    flip as flip,
    meshgrid as meshgrid,
    moveaxis as moveaxis,
    pad as pad,
    permute_dims as permute_dims,
    repeat as repeat,
    roll as roll,
    split as split,
    squeeze as squeeze,
    stack as stack,
    swapaxes as swapaxes,
    tile as tile,
    tril as tril,
    triu as triu,
)
from chainrule.ops.composite import (
    log_softmax as log_softmax,
    min as min,
    softmax as softmax,
    softplus as softplus,
    var as var,
)
from chainrule.ops.convolve import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    depthwise_conv2d as depthwise_conv2d,
)
from chainrule.ops.cumulate import (
    cumprod as cumprod,
    cumsum as cumsum,
)
from chainrule.ops.draws import (
    categorical as categorical,
    normal as normal,
    permutation as permutation,
    randint as randint,
    truncated_normal as truncated_normal,
)
from chainrule.ops.einsum import (
    einsum as einsum,
    tensordot as tensordot,
    vecdot as vecdot,
)
from chainrule.ops.elementwise import (
    absolute as abs,  # noqa: F401
    add as add,
    cast as cast,
    divide as divide,
    equal as equal,
    exp as exp,
    greater as greater,
    isfinite as isfinite,
    less as less,
    log as log,
    maximum as maximum,
    multiply as multiply,
    negative as negative,
    power as power,
    relu as relu,
    sigmoid as sigmoid,
    sqrt as sqrt,
    stop_gradient as stop_gradient,
    subtract as subtract,
    tanh as tanh,
    where as where,
)
from chainrule.ops.index import (
    arange as arange,
    one_hot as one_hot,
    scatter_add as scatter_add,
    take as take,
)
from chainrule.ops.linalg import (
    cholesky as cholesky,
    inv as inv,
    norm as norm,
    slogdet as slogdet,
    solve as solve,
)
from chainrule.ops.linear import (
    contract as contract,
    dot as dot,
    matmul as matmul,
    outer as outer,
)
from chainrule.ops.logic import (
    greater_equal as greater_equal,
    isnan as isnan,
    less_equal as less_equal,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    not_equal as not_equal,
)
from chainrule.ops.move import (
    broadcast_to as broadcast_to,
    expand_dims as expand_dims,
    reshape as reshape,
    transpose as transpose,
)
from chainrule.ops.order import (
    argsort as argsort,
    segment_sum as segment_sum,
    sort as sort,
    take_along_axis as take_along_axis,
    top_k as top_k,
)
from chainrule.ops.pool import (
    average_pool1d as average_pool1d,
    average_pool2d as average_pool2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
)
from chainrule.ops.random import (
    bernoulli as bernoulli,
    fold_in as fold_in,
    key as key,
    uniform as uniform,
)
from chainrule.ops.reduce import (
    max as max,
    mean as mean,
    sum as sum,
)
from chainrule.ops.resize import (
    resize as resize,
)
from chainrule.ops.rounding import (
    ceil as ceil,
    clip as clip,
    floor as floor,
    minimum as minimum,
    remainder as remainder,
    round as round,
    sign as sign,
)
from chainrule.ops.smooth import (
    arccosh as arccosh,
    arcsinh as arcsinh,
    arctanh as arctanh,
    cosh as cosh,
    erf as erf,
    expm1 as expm1,
    log1p as log1p,
    logaddexp as logaddexp,
    rsqrt as rsqrt,
    sinh as sinh,
    square as square,
)
from chainrule.ops.statistics import (
    all as all,
    any as any,
    argmax as argmax,
    argmin as argmin,
    count_nonzero as count_nonzero,
    logsumexp as logsumexp,
    prod as prod,
    std as std,
)
from chainrule.train import (
    BackupAndRestore as BackupAndRestore,
    Callback as Callback,
    Converged as Converged,
    CSVLogger as CSVLogger,
    EarlyStopping as EarlyStopping,
    History as History,
    LambdaCallback as LambdaCallback,
    LearningRateScheduler as LearningRateScheduler,
    ModelCheckpoint as ModelCheckpoint,
    ReduceLROnPlateau as ReduceLROnPlateau,
    TerminateOnNaN as TerminateOnNaN,
    UseAverage as UseAverage,
    metrics as metrics,
    optim as optim,
    schedules as schedules,
)

__version__: str
