"""Index, joining and running ops as machine code: the same bits as NumPy's, and no id outside."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.index import scatter_add
from chainrule.ops.move import flip_op
from chainrule.ops.rows import first_places, put_parts, put_rows

DTYPES = ("float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint32")
IDS = ("int8", "uint8", "int16", "int32", "int64", "uint32")
RNG = np.random.default_rng(7)


def native(f: object):
    """The compiled program of a function called with one set of shapes."""
    (entry,) = f.entries.values()  # type: ignore[attr-defined]
    return entry.program.draft()


def hosts(f: object) -> list[str]:
    """The ops that NumPy runs."""
    return [s.node.op.name for s in native(f).segments if s.node is not None]


def drawn(shape: tuple, dtype: str) -> np.ndarray:
    return (RNG.standard_normal(shape) * 40 + 50).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "axis"),
    [("float32", 0), ("float64", 1), ("int8", 2), ("int16", 0), ("uint32", 1), ("bool", 2)],
)
def test_rows_of_every_dtype_are_taken_along_any_axis(dtype, axis):
    x = drawn((5, 7, 19), dtype)
    f = cr.jit(lambda x, ids: cr.take(x, ids, axis))
    for ids in (np.array([3, 0, 0, 4]), np.array([[1, 4, 2], [0, 0, 3]]), np.array(2)):
        np.testing.assert_array_equal(f(x, ids).numpy(), np.take(x, ids, axis))


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_integer_dtype_name_rows(kind):
    x, ids = drawn((100, 3), "float32"), RNG.integers(0, 100, 57).astype(kind)
    f = cr.jit(lambda x, ids: cr.take(x, ids))
    g = cr.jit(lambda g, ids: scatter_add(g, ids, axis=0, extent=100))
    np.testing.assert_array_equal(f(x, ids).numpy(), x[ids])
    wanted = scatter_add.ref(x[ids], ids, axis=0, extent=100)
    np.testing.assert_array_equal(g(x[ids], ids).numpy(), wanted)
    assert not hosts(f) + hosts(g)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((40, 33), 0), ((40,), 0), ((3, 40), 1), ((2, 40, 5), 1), ((8, 5, 1), 0)]
)
def test_a_place_is_added_to_in_the_order_of_its_ids(dtype, shape, axis):
    many = shape[axis : axis + 2] if shape == (8, 5, 1) else shape[axis]
    ids = RNG.integers(0, 6, many)
    g = drawn(shape, dtype)
    f = cr.jit(lambda g, ids: scatter_add(g, ids, axis=axis, extent=6))
    wanted = scatter_add.ref(g, ids, axis=axis, extent=6)
    np.testing.assert_array_equal(f(g, ids).numpy(), wanted)
    assert not hosts(f)


def test_rows_are_taken_from_views_and_ids_read_through_them():
    x, ids = drawn((30, 6, 20), "float32"), RNG.integers(0, 6, (9, 8))

    def f(x, ids):
        turned = flip_op(cr.transpose(x, (1, 0, 2)), axes=(0, 2))[:, ::3, 2:19]
        return cr.take(turned, flip_op(cr.transpose(ids), axes=(1,))[::2], 0) * 2.0

    compiled = cr.jit(f)
    np.testing.assert_array_equal(compiled(x, ids).numpy(), f(x, ids).numpy())
    spread = cr.jit(lambda x, i: cr.take(x, cr.broadcast_to(i, (4, 5)), 1))
    np.testing.assert_array_equal(spread(x, ids[0, :5]).numpy(), x[:, [ids[0, :5]] * 4])


def test_what_reads_taken_rows_is_computed_with_them():
    table, ids = drawn((50, 24), "float32"), RNG.integers(0, 50, 200)
    f = cr.jit(lambda table, ids, w: cr.sum(cr.tanh(cr.take(table, ids)) * w, axis=1))
    w = drawn((200, 24), "float32")
    f(table, ids, w)
    assert [k.name for k in native(f).kernels] == ["take+tanh+multiply+sum"]


def test_ids_are_checked_once_however_often_they_serve():
    def loss(table, ids):
        rows = cr.take(table, ids)
        return cr.sum(rows * rows * cr.take(table * 2.0, ids))

    step = cr.jit(cr.grad(loss))
    step(drawn((9, 4), "float32"), np.arange(9))
    found = [i for checks in native(step).checks.values() for i in checks]
    assert len(found) == 1 and not hosts(step)


@pytest.mark.parametrize("bad", [-1, 9, 2**31, -(2**40)])
@pytest.mark.parametrize("count", [6, 50_000])
def test_an_id_outside_says_what_numpy_says_and_changes_nothing(bad, count):
    ids = RNG.integers(0, 9, count)
    ids[count // 2] = bad
    table = cr.Tensor(drawn((9, 20), "float32"))
    before = table.numpy().copy()

    def step(table, ids):
        g = cr.grad(lambda t: cr.sum(cr.take(t, ids) ** 2))(table)
        return table - 0.1 * g, cr.sum(g)

    compiled = cr.jit(step, donate=("table",))
    with pytest.raises(cr.ArgumentError) as eager:
        step(table, ids)
    with pytest.raises(cr.ArgumentError) as found:
        compiled(table, ids)
    assert str(found.value).splitlines()[0] == str(eager.value).splitlines()[0]
    np.testing.assert_array_equal(table.numpy(), before)
    ids[count // 2] = 0
    moved, _ = compiled(table, ids)  # the same program goes on
    wanted = step(cr.Tensor(before), ids)[0].numpy()
    np.testing.assert_allclose(moved.numpy(), wanted, rtol=1e-5, atol=1e-3)


def test_ids_of_a_later_check_are_the_ones_reported():
    def f(x, ids, others):
        return cr.take(cr.take(x, ids) * 2.0, others + 1)

    compiled = cr.jit(f)
    x, ids = drawn((9, 3), "float32"), np.arange(5)
    with pytest.raises(cr.ArgumentError, match=r"0\.\.4, got 5 at \[1\]"):
        compiled(x, ids, np.array([0, 4]))
    np.testing.assert_array_equal(
        compiled(x, ids, np.array([0, 3])).numpy(), f(x, ids, np.array([0, 3])).numpy()
    )


def test_an_id_outside_stops_a_compiled_loop():
    table = drawn((9, 4), "float32")

    def f(table, ids):
        def step(total, i):
            total = total + cr.take(table, i)
            return total, total

        return cr.scan(step, np.zeros(4, "float32"), ids)[0]

    compiled = cr.jit(f)
    ids = np.arange(9)
    np.testing.assert_allclose(compiled(table, ids).numpy(), table.sum(0), rtol=1e-5)
    with pytest.raises(cr.ArgumentError, match=r"0\.\.8, got 9"):
        compiled(table, ids + 1)
    np.testing.assert_allclose(compiled(table, ids).numpy(), table.sum(0), rtol=1e-5)


def test_no_ids_take_no_rows():
    none = np.zeros((0,), "int64")
    f = cr.jit(lambda x, ids: cr.take(x, ids))
    g = cr.jit(lambda x, ids: scatter_add(x, ids, axis=0, extent=3))
    assert f(np.ones((3, 2), "float32"), none).shape == (0, 2)
    assert not np.any(g(np.ones((0, 2), "float32"), none).numpy())


def test_a_table_of_more_than_2_gib_is_read_at_its_ends():
    table = np.zeros((560_000_000, 4), "int8")  # of which only the pages written take memory
    ids = np.array([len(table) - 1, 0, len(table) - 2])
    table[ids] = [[1], [2], [3]]
    f = cr.jit(lambda x, ids: cr.take(x, ids))
    np.testing.assert_array_equal(f(table, ids).numpy(), [[1] * 4, [2] * 4, [3] * 4])


PRINTED = """
import numpy as np, chainrule as cr
rng = np.random.default_rng(0)
ids = rng.integers(0, 300, 5000)
x, g = (rng.standard_normal((n, 40)).astype("float32") for n in (300, 5000))
def f(x, g, ids):
    parts = cr.split(cr.take(x, ids) * g, 4, axis=1)
    y = cr.concatenate([cr.cumsum(parts[0], 0), *parts[:0:-1]], 1)
    flat = cr.take(cr.reshape(x, -1), ids)
    return cr.sum(y * y) / 1e6 + cr.sum(cr.cumsum(flat) * flat)
step = cr.jit(cr.grad(f))
y = step(x, g, ids)
assert all(s.text for s in next(iter(step.entries.values())).program.draft().segments)
print(y.numpy().tobytes().hex()[:4000])
"""


def test_any_number_of_threads_gives_the_same_bits(python):
    found = {python(PRINTED, CHAINRULE_THREADS=count) for count in ("1", "4")}
    assert len(found) == 1


def test_parts_are_joined_in_one_kernel_and_their_gradients_too():
    parts = [drawn((60, n), "float32") for n in (5, 33, 1, 16, 70)]
    f = cr.jit(lambda *p: cr.concatenate(p, 1))
    np.testing.assert_array_equal(f(*parts).numpy(), np.concatenate(parts, 1))
    assert [k.name for k in native(f).kernels] == ["concatenate"]

    def gates(x):
        a, b, c, d = cr.split(x, 4, axis=1)
        return cr.sum(cr.tanh(a) * cr.sigmoid(b) + c * c * d)

    x = drawn((60, 80), "float32") / 50
    g = cr.jit(cr.grad(gates))
    np.testing.assert_allclose(g(x).numpy(), cr.grad(gates)(x).numpy(), rtol=1e-5, atol=1e-6)
    names = [k.name for k in native(g).kernels]
    assert names.count("concatenate") == 1 and not any("pad" in name for name in names)


def test_apart_gradients_of_parts_leave_zeros_between():
    x = drawn((20, 50), "float32")
    f = cr.grad(lambda x: cr.sum(x[:, 3:9] ** 2) + cr.sum(x[:, 40:] ** 3) + cr.sum(x[:, 20:30]))
    np.testing.assert_allclose(cr.jit(f)(x).numpy(), f(x).numpy(), rtol=1e-5)
    both = cr.grad(lambda x: cr.sum(x[:, 3:9] ** 2) + cr.sum(x[:, 8:] ** 3))  # one column twice
    np.testing.assert_allclose(cr.jit(both)(x).numpy(), both(x).numpy(), rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((7, 300), 1), ((300, 7), 0), ((6, 40, 21), 1)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_running_sums_add_in_order(shape, axis, reverse, dtype):
    x = drawn(shape, dtype)

    def turned(x):
        return flip_op(x, axes=(axis,)) if reverse else x

    f = cr.jit(lambda x: turned(cr.cumsum(turned(x), axis)))
    y = f(x).numpy()
    way = np.flip(x, axis) if reverse else x
    wanted = np.cumsum(way, axis, dtype=y.dtype)
    np.testing.assert_array_equal(y, np.flip(wanted, axis) if reverse else wanted)
    assert not hosts(f)


@pytest.mark.parametrize("dtype", DTYPES)
def test_remainders_have_numpys_bits(dtype):
    if dtype[0] == "f":
        x, z = (
            (RNG.standard_normal(3000) * 10.0 ** RNG.integers(-5, top, 3000)).astype(dtype)
            for top in (25, 6)
        )
        z[::50], x[::70] = np.inf, np.nan
    else:
        info = np.iinfo(dtype)
        x = RNG.integers(info.min, info.max, 3000, dtype=dtype, endpoint=True)
        z = RNG.integers(max(info.min, -4), 4, 3000, dtype=dtype, endpoint=True)
        x[::9] = info.min
    with np.errstate(all="ignore"):
        wanted = np.remainder(x, z)
    f = cr.jit(cr.remainder)
    np.testing.assert_array_equal(f(x, z).numpy(), wanted)
    zero = f(x, z).numpy() == 0
    assert np.array_equal(np.signbit(f(x, z).numpy()[zero]), np.signbit(wanted[zero]))
    assert not hosts(f)


def test_kernels_print_what_they_gather(capsys, monkeypatch):
    monkeypatch.setenv("CHAINRULE_SHOW", "kernels")
    x, ids = drawn((9, 4), "float32"), np.array([[1, 2, 3], [3, 2, 1]])
    cr.jit(lambda x, ids: cr.take(x, ids, 1) + cr.cumsum(cr.take(x, ids, 1), 1))(x, ids)
    shown = capsys.readouterr().err
    assert "gather(" in shown and "store(fault" in shown


def test_rows_are_put_into_a_donated_table_in_place():
    def step(table, ids, rows):
        old = cr.take(table, ids)
        return put_rows(table, ids, old * 0.5 + rows), cr.sum(old)

    x, rows = drawn((3000, 20), "float32"), drawn((4, 20), "float32")
    compiled = cr.jit(step, donate=("table",))
    table = cr.Tensor(x.copy())
    address = table.numpy().ctypes.data
    ids = np.array([2999, 0, 7, 8])
    wanted = x.copy()
    wanted[ids] = x[ids] * np.float32(0.5) + rows
    with pytest.raises(cr.ArgumentError, match=r"0\.\.2999, got 3000"):
        compiled(table, ids + 1, rows)
    np.testing.assert_array_equal(table.numpy(), x)
    table, _ = compiled(table, ids, rows)
    np.testing.assert_array_equal(table.numpy(), wanted)
    assert table.numpy().ctypes.data == address and not hosts(compiled)
    kept = cr.jit(step)
    other, _ = kept(x, ids, rows)
    np.testing.assert_array_equal(other.numpy(), wanted)


def test_casts_between_all_dtypes_are_native():
    x = [RNG.uniform(0, 120, 37).astype(name) for name in (*DTYPES, "bool")]  # fits all dtypes
    f = cr.jit(lambda *xs: [cr.cast(a, b.dtype) for a in xs for b in x])
    for found, (a, b) in zip(f(*x), ((a, b) for a in x for b in x), strict=True):
        np.testing.assert_array_equal(found.numpy(), a.astype(b.dtype), f"{a.dtype} to {b.dtype}")
    assert not hosts(f)


def test_positions_of_extremes_are_native():
    def f(x):
        best = cr.argmax(x, 1, keepdims=True)
        return cr.take_along_axis(x, best, 1), cr.argmin(x, 0), cr.one_hot(best[:, 0], 9)

    compiled, x = cr.jit(f), RNG.standard_normal((40, 9)).astype("float32")
    for found, wanted in zip(compiled(x), f(x), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    assert not hosts(compiled)


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize(
    ("shape", "most"), [((1,), 9), ((57,), 20), ((3, 2, 40), 6), ((5000,), 99)]
)
def test_the_place_where_an_id_stands_first_is_found(kind, shape, most):
    ids = RNG.integers(0, most, shape).astype(kind)
    f = cr.jit(first_places)
    np.testing.assert_array_equal(f(ids).numpy(), first_places.ref(ids))
    assert not hosts(f)


def test_ids_far_apart_negative_or_seen_through_views_are_told_apart():
    f = cr.jit(lambda ids: first_places(ids[:, 1]) + first_places(flip_op(ids, axes=(0,))[:, 0]))
    for scale in (1, 2**12, 2**32, -(2**52)):
        ids = RNG.integers(-50, 50, (300, 2)) * scale
        wanted = first_places.ref(ids[:, 1]) + first_places.ref(ids[::-1, 0])
        np.testing.assert_array_equal(f(ids).numpy(), wanted)
    assert not hosts(f)


def test_parts_are_put_over_their_rows_and_nothing_else_changes():
    x, ids = drawn((900, 2, 33), "float32"), RNG.integers(0, 900, 400)
    places = first_places.ref(ids)
    parts = [drawn((400, 33), "float32") for _ in range(2)]
    f = cr.jit(lambda x, ids, places, *parts: put_parts(x, ids, places, *parts))
    np.testing.assert_array_equal(
        f(x, ids, places, *parts).numpy(), put_parts.ref(x, ids, places, *parts)
    )
    assert not hosts(f)
    for bad in (np.where(places == 3, 400, places), np.where(places == 3, -1, places)):
        with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.399"):
            f(x, ids, bad, *parts)
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.899"):
        f(x, ids + 1 + (899 - ids.max()), places, *parts)
    with pytest.raises(cr.ShapeError, match="put_parts needs a row for each id and part"):
        put_parts(x, ids, places, parts[0])
    with pytest.raises(cr.DtypeError, match="put_parts needs rows of float32"):
        put_parts(x, ids, places, parts[0], parts[1].astype(np.float64))
