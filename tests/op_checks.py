"""What must hold for every op and every sample of it: one function per claim.

`test_ops.py` runs them over the table of ops, `test_test_ops.py` over ops with planted faults.
Each raises AssertionError, and says which op, input and element, when its claim is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import chainrule as cr
from chainrule.core.op import NO_GRADIENT, Op, Sample
from chainrule.core.recording import Recording

STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
ELEMENTWISE_ULP = 4  # machine code against `ref` in float32; sums are held to the largest element
BATCH = 3
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, 88.0, -88.0, 0.5)


def arrays_of(op: Op, sample: Sample, dtype: str = "float64", seed: int = 0) -> list[np.ndarray]:
    """The sample's inputs; all drawn numbers lie apart from each other and from 0.

    So no draw stands on the kink of relu, abs or maximum, nor is there a tie for max.
    """
    rng = np.random.default_rng([seed, *op.name.encode()])
    sizes = [int(np.prod(a)) if isinstance(a, tuple) else 0 for a in sample.args]
    total = sum(sizes) + sum(sizes) % 2
    low, high = op.domain
    places = (np.arange(total) + 0.5 + rng.uniform(-0.25, 0.25, total)) / max(total, 1)
    drawn = rng.permutation(low + (high - low) * places).astype(dtype)
    found, at = [], 0
    for arg, size in zip(sample.args, sizes):
        if isinstance(arg, tuple):
            found.append(drawn[at : at + size].reshape(arg))
            at += size
        else:
            found.append(np.asarray(arg))
    return found


def floats_of(sample: Sample) -> list[int]:
    """Which inputs are drawn; the others are kept as they are."""
    return [i for i, arg in enumerate(sample.args) if isinstance(arg, tuple)]


def weights(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape)


def expected(op: Op, sample: Sample, arrays: list[np.ndarray]) -> np.ndarray:
    """What `ref` gives, without chainrule in between."""
    given = np.broadcast_arrays(*arrays) if op.kind == "elementwise" else arrays
    return np.asarray(op.ref(*given, **sample.attrs))


def restricted(op: Op, sample: Sample, arrays: list[np.ndarray]) -> tuple[Callable, list]:
    """The op as a function of its float inputs, and these."""
    which = floats_of(sample)

    def fn(*given: object) -> cr.Tensor:
        full: list = list(arrays)
        for i, value in zip(which, given):
            full[i] = value
        return op(*full, **sample.attrs)

    return fn, [arrays[i] for i in which]


def differences(fn: Callable, arrays: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Central differences of scalar `fn` in every element of every array."""
    for which, x in enumerate(arrays):
        slope = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            h = STEP * max(1.0, abs(x[index]))
            ends = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[which][index] += sign * h
                ends.append(float(fn(*moved)))
            slope[index] = (ends[0] - ends[1]) / (2 * h)
        yield slope


def near(found: np.ndarray, wanted: np.ndarray, relative: float, what: str) -> None:
    """Equal up to `relative` of the largest element."""
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, needed {wanted.shape}"
    if wanted.size:
        gap = np.max(np.abs(found - wanted)) / max(np.max(np.abs(wanted)), 1e-8)
        assert gap <= relative, (
            f"{what}: off by {gap:.2e}, at most {relative:.0e}\n{found}\n{wanted}"
        )


def check_forward(op: Op, sample: Sample) -> None:
    """Recorded or not, the value is `ref`'s; what is inferred is what is computed."""
    for dtype in ("float32", "float64"):
        arrays = arrays_of(op, sample, dtype)
        wanted = expected(op, sample, arrays)
        eager = op(*arrays, **sample.attrs)
        with cr.record():
            recorded = op(*arrays, **sample.attrs)
        for y in (eager, recorded):
            np.testing.assert_array_equal(y.numpy(), wanted, err_msg=op.name)
        node = recorded.node
        assert node.shape == wanted.shape, f"{op.name}: inferred {node.shape}, {wanted.shape} came"
        assert node.dtype == wanted.dtype, f"{op.name}: inferred {node.dtype}, {wanted.dtype} came"


def check_gradient(op: Op, sample: Sample) -> None:
    """The vjp is what central differences say; without a derivative it is 0."""
    arrays = arrays_of(op, sample)
    fn, given = restricted(op, sample, arrays)
    if not given:
        return
    y = expected(op, sample, arrays)
    w = weights(y.shape)
    cotangent = w if y.dtype.kind == "f" else np.ones(y.shape, y.dtype)
    grads = cr.vjp(fn, *given)[1](cotangent)
    if op.deriv is NO_GRADIENT:
        assert all(not np.any(g.numpy()) for g in grads), f"{op.name}: a gradient where none is"
        return
    slopes = differences(lambda *xs: np.sum(fn(*xs).numpy() * w), given)
    for i, (g, slope) in enumerate(zip(grads, slopes)):
        near(g.numpy(), slope, 1e-6, f"{op.name}: gradient in float input {i}")


def check_second_order(op: Op, sample: Sample) -> None:
    """The gradient of the gradient is what differences of the gradient say."""
    arrays = arrays_of(op, sample)
    fn, given = restricted(op, sample, arrays)
    y = expected(op, sample, arrays)
    if not given or y.dtype.kind != "f" or op.deriv is NO_GRADIENT:
        return
    w = weights(y.shape)
    us = [weights(x.shape, 2 + i) for i, x in enumerate(given)]

    def slope(*xs: object) -> cr.Tensor:
        grads = cr.grad(lambda *x: cr.sum(fn(*x) * w), argnums=range(len(given)))(*xs)
        total = 0.0
        for g, u in zip(grads, us):
            total = total + cr.sum(g * u)
        return total

    grads = cr.grad(slope, argnums=range(len(given)))(*given)
    for i, (g, wanted) in enumerate(zip(grads, differences(slope, given))):
        near(g.numpy(), wanted, 1e-6, f"{op.name}: second order in float input {i}")


def check_forward_mode(op: Op, sample: Sample) -> None:
    """<w, J v> = <J' w, v>: the jvp and the vjp are of one Jacobian."""
    arrays = arrays_of(op, sample)
    fn, given = restricted(op, sample, arrays)
    y = expected(op, sample, arrays)
    if not given or y.dtype.kind != "f":
        return
    vs = [weights(x.shape, 2 + i) for i, x in enumerate(given)]
    w = weights(y.shape)
    try:
        value, moved = cr.jvp(fn, given, vs)
    except cr.GradientError:
        assert op.kind == "control", f"{op.name}: no forward mode"
        return
    np.testing.assert_array_equal(value.numpy(), y)
    pulled = cr.vjp(fn, *given)[1](w)
    left = np.sum(moved.numpy() * w)
    right = sum(np.sum(g.numpy() * v) for g, v in zip(pulled, vs))
    near(np.asarray(left), np.asarray(right), 1e-12, f"{op.name}: jvp against vjp")


def check_vmap(op: Op, sample: Sample) -> None:
    """A batch in any one input, and in all, is what a loop over the examples gives."""
    batches = []
    for i, arg in enumerate(sample.args):
        if isinstance(arg, tuple):
            batches.append(np.stack([arrays_of(op, sample, seed=q)[i] for q in range(BATCH)]))
        else:
            batches.append(np.stack([np.roll(arg, q) for q in range(BATCH)]))
    alone = [[i] for i in range(len(batches))]
    for chosen in [*alone, list(range(len(batches)))]:
        axes = [0 if i in chosen else None for i in range(len(batches))]
        given = [x if axis == 0 else x[0] for x, axis in zip(batches, axes)]
        found = cr.vmap(lambda *x: op(*x, **sample.attrs), axes)(*given).numpy()
        rows = [
            op(*[x[q] if i in chosen else x for i, x in enumerate(given)], **sample.attrs).numpy()
            for q in range(BATCH)
        ]
        what = f"{op.name}: vmap over inputs {chosen}"
        assert found.dtype == rows[0].dtype, what
        near(found.astype(float), np.stack(rows).astype(float), 1e-12, what)


def same_code(op: Op, found: np.ndarray, exact: np.ndarray, what: str) -> None:
    """Machine code against `ref` in float64: a few ulp in float32, 1e-12 in float64.

    An elementwise result is held to its own last place; where several terms are added, to that
    of the largest element.
    """
    assert found.shape == exact.shape, f"{what}: shape {found.shape}, needed {exact.shape}"
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, exact, err_msg=what)
        return
    wanted = exact.astype(found.dtype)
    odd = ~np.isfinite(wanted) | ~np.isfinite(found)
    np.testing.assert_array_equal(found[odd], wanted[odd], err_msg=what)
    sizes = np.abs(wanted[~odd])
    if not sizes.size:
        return
    if op.kind != "elementwise":
        sizes = np.full_like(sizes, max(sizes.max(), 1.0))
    tiny = np.finfo(found.dtype).tiny
    unit = np.spacing(np.maximum(sizes, tiny))
    bound = np.where(sizes < tiny, tiny, unit * ELEMENTWISE_ULP)  # denormals are flushed to 0
    if found.dtype == np.float64:
        bound = np.maximum(bound, sizes * 1e-12)
    gap = np.abs(found[~odd].astype(float) - exact[~odd].astype(float))
    worst = int(np.argmax(gap / bound))
    assert np.all(gap <= bound), (
        f"{what}: machine code gives {found[~odd][worst]!r}, needed {wanted[~odd][worst]!r}, "
        f"{gap[worst] / unit[worst]:.1f} ulp off"
    )


def wide(arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [x.astype(np.float64) if x.dtype.kind == "f" else x for x in arrays]


def check_machine_code(op: Op, sample: Sample) -> None:
    """What `cr.jit` compiles computes `ref`, in both float dtypes."""
    compiled = cr.jit(lambda *x: op(*x, **sample.attrs))
    for dtype in ("float32", "float64"):
        arrays = arrays_of(op, sample, dtype)
        found = compiled(*arrays).numpy()
        assert found.dtype == expected(op, sample, arrays).dtype, f"{op.name}: dtype"
        same_code(op, found, expected(op, sample, wide(arrays)), f"{op.name} in {dtype}")


def check_compiled_gradient(op: Op, sample: Sample) -> None:
    """The compiled vjp is the eager one."""
    arrays = arrays_of(op, sample)
    fn, given = restricted(op, sample, arrays)
    y = expected(op, sample, arrays)
    if not given or y.dtype.kind != "f":
        return
    w = weights(y.shape).astype(y.dtype)

    def pulled(w: object, *xs: object) -> tuple:
        return cr.grad(lambda *x: cr.sum(fn(*x) * w), argnums=range(len(given)))(*xs)

    for found, wanted in zip(cr.jit(pulled)(w, *given), pulled(w, *given)):
        near(found.numpy(), wanted.numpy(), 1e-12, f"{op.name}: compiled gradient")


def check_special_values(op: Op, sample: Sample) -> None:
    """0, infinity, NaN, tiny and huge numbers come out of machine code as out of `ref`."""
    which = floats_of(sample)
    if op.kind != "elementwise" or not which:
        return
    pairs = np.array(np.meshgrid(*[SPECIAL] * len(which))).reshape(len(which), -1)
    arrays = [np.asarray(a) for a in sample.args]
    for i, row in zip(which, pairs):
        arrays[i] = row
    for i, arg in enumerate(sample.args):
        if i not in which:
            arrays[i] = np.resize(arg, pairs.shape[1])
    y = expected(op, sample, arrays)
    if y.dtype.kind == "i":
        return  # no integer stands for infinity
    for dtype in ("float32", "float64"):
        narrow = [a.astype(dtype) if i in which else a for i, a in enumerate(arrays)]
        found = cr.jit(lambda *x: op(*x, **sample.attrs))(*narrow).numpy()
        with np.errstate(all="ignore"):
            exact = expected(op, sample, wide(narrow))
            sizes = [np.where(np.isfinite(narrow[i]), np.abs(narrow[i]), 0) for i in which]
            beyond = np.max(sizes, axis=0) >= op.exact_below
            exact = np.where(beyond, np.nan, exact) if beyond.any() else exact
            same_code(op, found, exact, f"{op.name} of special values in {dtype}")


def check_layout(op: Op, sample: Sample) -> None:
    """Inputs that are not contiguous give the same, to the bit."""
    arrays = arrays_of(op, sample)
    loose = []
    for x in arrays:
        padded = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
        part = padded[(slice(None, None, 2),) * x.ndim] if x.ndim else padded
        part[...] = x
        loose.append(part)
    compiled = cr.jit(lambda *x: op(*x, **sample.attrs))
    for fn in (lambda *x: op(*x, **sample.attrs), compiled):
        np.testing.assert_array_equal(fn(*loose).numpy(), fn(*arrays).numpy(), err_msg=op.name)


def outcome(op: Op, sample: Sample, arrays: list[np.ndarray]) -> bool:
    """Whether these inputs are refused: by a ChainruleError, and alike when only recorded."""
    try:
        value = op(*arrays, **sample.attrs).numpy()
    except cr.ChainruleError:
        value = None
    with Recording(concrete=False) as recording:
        try:
            y = op(*[recording.input(cr.Tensor(x)) for x in arrays], **sample.attrs)
        except cr.ChainruleError:
            assert value is None, f"{op.name}: refused only while recording"
            return True
    assert value is not None, f"{op.name}: refused only when computing"
    assert (y.shape, y.dtype) == (value.shape, value.dtype), f"{op.name}: inferred {y.node}"
    return False


def check_bad_shapes(op: Op, sample: Sample) -> None:
    """One axis more, or none at all, is refused by a ChainruleError, or computed as inferred."""
    arrays = arrays_of(op, sample)
    refused = []
    for i, x in enumerate(arrays):
        for bad in (np.broadcast_to(x[..., None], (*x.shape, 7)), x.reshape(-1)[:1].reshape(())):
            given = [bad if j == i else a for j, a in enumerate(arrays)]
            refused.append(outcome(op, sample, given))
    any_shape = op.kind == "control" or (op.kind == "elementwise" and len(arrays) == 1)
    any_shape |= op.name == "after"  # it hands on what it is given
    assert any_shape or any(refused), f"{op.name}: no shape at all is refused"


CHECKS = [value for name, value in dict(globals()).items() if name.startswith("check_")]
