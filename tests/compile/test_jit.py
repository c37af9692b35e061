"""`jit`: signatures, captures, donation, state."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr


def test_a_new_shape_or_static_value_compiles_anew_and_a_float_does_not():
    @cr.jit
    def f(x, scale, times):
        for _ in range(times):
            x = x * scale
        return x

    x = np.ones((2, 3), np.float32)
    assert np.array_equal(f(x, 2.0, 2), 4 * x)
    assert np.array_equal(f(x, 3.0, 2), 9 * x)
    assert len(f.entries) == 1
    f(x, 3.0, 1), f(x[:1], 3.0, 1), f(x.astype(np.float64), 3.0, 1)
    assert len(f.entries) == 4


def test_a_traced_float_keeps_its_digits_beside_float64():
    x = np.ones(3)
    assert cr.jit(lambda x, c: x * c)(x, 0.1).numpy()[0] == 0.1


def test_a_captured_tensor_is_read_at_each_call():
    w = cr.Tensor(np.ones(3, np.float32))
    f = cr.jit(lambda x: x * w)
    x = np.arange(3, dtype=np.float32)
    assert np.array_equal(f(x), x)
    w.assign(np.full(3, 5, np.float32))
    assert np.array_equal(f(x), 5 * x)


def test_a_captured_float_that_changes_records_again_and_says_so():
    rate = 2.0

    def fn(x):
        return x * rate

    f = cr.jit(fn)
    x = np.ones(2, np.float32)
    assert np.array_equal(f(x), [2, 2])
    rate = 3.0
    with pytest.warns(UserWarning, match="captures is another number"):
        assert np.array_equal(f(x), [3, 3])
    rate = 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(f(x), [2, 2])


def test_a_donated_tensor_is_gone_and_says_so():
    f = cr.jit(lambda p: p * 2, donate=("p",))
    p = cr.Tensor(np.ones(4, np.float32))
    q = f(p)
    assert np.array_equal(q, [2, 2, 2, 2])
    with pytest.raises(cr.DonatedError, match="use the tensor that the call returned"):
        p.numpy()


def test_a_view_taken_before_donation_keeps_its_numbers():
    f = cr.jit(lambda p: p * 2, donate=("p",))
    p = cr.Tensor(np.ones(4, np.float32))
    seen = p.numpy()
    f(p)
    assert np.array_equal(seen, [1, 1, 1, 1])


def test_a_numpy_array_given_as_donated_stays_as_it_is():
    f = cr.jit(lambda p: p * 2, donate=("p",))
    p = np.ones(4, np.float32)
    f(p)
    assert np.array_equal(p, [1, 1, 1, 1])


def test_donation_waits_for_other_readers():
    """w is read transposed elsewhere in the step that overwrites it."""

    @cr.jit(donate=("w",))
    def step(w, x):
        return w - 0.5 * w * x, cr.sum(cr.transpose(w) @ w)

    w = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32)
    x = np.ones((5, 5), np.float32)
    new, total = step(cr.Tensor(w.copy()), x)
    assert np.allclose(new, 0.5 * w)
    assert np.allclose(float(total), (w.T @ w).sum(), rtol=1e-4)


def test_two_donated_arguments_that_change_places():
    f = cr.jit(lambda a, b: (b + 1, a + 1), donate=("a", "b"))
    a, b = cr.Tensor(np.zeros(20, np.float32)), cr.Tensor(np.ones(20, np.float32))
    for _ in range(3):
        a, b = f(a, b)
    assert np.array_equal(a, np.full(20, 4.0)) and np.array_equal(b, np.full(20, 3.0))


def test_an_input_returned_unchanged():
    x = cr.Tensor(np.ones(3, np.float32))
    same, twice = cr.jit(lambda x: (x, x + x), donate=("x",))(x)
    assert np.array_equal(same, [1, 1, 1]) and np.array_equal(twice, [2, 2, 2])


def test_state_is_renewed_for_the_object_that_was_passed():
    class Counter:
        def __init__(self):
            self.count = cr.State(np.float32(0))

    cr.register_tree(Counter, lambda c: ([c.count], ()), lambda aux, parts: _with(*parts))

    def _with(count):
        made = Counter()
        made.count = count
        return made

    @cr.jit
    def bump(counter):
        counter.count.renew(counter.count + 1.0)
        return counter.count * 10.0

    first, second = Counter(), Counter()
    assert [float(bump(first)), float(bump(first)), float(bump(second))] == [10, 20, 10]
    assert (float(first.count), float(second.count)) == (2, 1)


def test_outputs_of_every_kind():
    @cr.jit
    def f(x):
        return {"view": cr.transpose(x), "none": None, "number": 3, "same": [x + 1, x + 1]}

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    out = f(x)
    assert np.array_equal(out["view"], x.T) and out["none"] is None and out["number"] == 3
    assert np.array_equal(out["same"][0], x + 1) and np.array_equal(out["same"][1], x + 1)
    constant = cr.jit(lambda x: x * 0 + cr.arange(3, "float32"))(x)
    assert np.array_equal(constant, [[0, 1, 2]] * 2)


def test_arrays_that_are_not_contiguous_and_empty_ones():
    f = cr.jit(lambda x: cr.sum(x * 2, axis=0))
    x = np.arange(24, dtype=np.float64).reshape(4, 6)
    assert np.array_equal(f(x[::2, ::-1]), (x[::2, ::-1] * 2).sum(0))
    assert np.array_equal(f(np.ones((0, 3))), [0, 0, 0])
    assert np.array_equal(f(x.astype(">f8")), (x * 2).sum(0))


def test_an_argument_jit_cannot_take_is_named():
    with pytest.raises(cr.ArgumentError, match="type object"):
        cr.jit(lambda x, y: x)(np.ones(2), object())
    with pytest.raises(cr.UnknownNameError, match="did you mean 'params'"):
        cr.jit(lambda params: params, donate=("param",))


def test_the_whole_step_is_one_native_call(mlp):
    net = mlp()
    adam = cr.optim.Adam()

    @cr.jit(donate=("params", "state"))
    def step(params, state, x, y):
        loss, grads = cr.value_and_grad(net.loss)(params, x, y)
        params, state = adam.update(params, grads, state)
        return params, state, loss

    params = cr.tree_map(cr.Tensor, net.params)
    step(params, adam.init(params), net.x, net.y)
    (entry,) = step.entries.values()
    (segment,) = entry.program.draft().segments
    assert segment.text


def test_constants_as_outputs_and_as_operands():
    ones = lambda x: cr.pad(x * 0, [(0, 1)], 1.0)  # noqa: E731
    assert cr.jit(cr.grad(lambda x: x))(3.0).item() == 1.0
    assert np.array_equal(cr.jit(cr.grad(lambda x: cr.sum(x)))(np.ones((2, 3))), np.ones((2, 3)))
    assert np.array_equal(cr.jit(ones)(np.ones(2)), [0, 0, 1])

    def over_a_constant_image(kernel):
        image = cr.broadcast_to(cr.grad(lambda z: z)(2.0), (2, 5, 6, 1))
        return cr.conv2d(image, kernel)

    kernel = np.random.default_rng(0).standard_normal((3, 3, 1, 2)).astype(np.float32)
    assert np.allclose(
        cr.jit(over_a_constant_image)(kernel), over_a_constant_image(kernel), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "made",
    [
        lambda x: cr.Tensor(np.asfortranarray(x) + 1),
        lambda x: cr.Tensor(x.copy()).T * 1.5,
        lambda x: cr.Tensor(x[:, ::2].copy())[:, 1:],
    ],
    ids=["Fortran order", "computed from a transpose", "a view"],
)
def test_donated_memory_in_another_order_is_not_written_in_place(made):
    x = np.arange(20, dtype=np.float32).reshape(4, 5)
    wanted = np.array(made(x) * 2)
    assert np.array_equal(cr.jit(lambda p: p * 2, donate=("p",))(made(x)), wanted)


def test_a_donated_tensor_padded_by_nothing_keeps_its_numbers():
    x = np.ones((3, 4), np.float32)
    same = cr.jit(lambda p: cr.pad(p, [(0, 0), (0, 0)]), donate=("p",))
    assert np.array_equal(same(cr.Tensor(x.copy())), x)


def test_a_donated_state_that_is_not_renewed_keeps_its_numbers():
    state = cr.State(np.zeros(3, np.float32))
    assert np.array_equal(cr.jit(lambda s: s + 1, donate=("s",))(state), np.ones(3))
    assert np.array_equal(state, np.zeros(3))


def test_an_error_of_numpy_in_a_call_leaves_donated_tensors_whole():
    x = np.ones((3, 4), np.float32)
    step = cr.jit(lambda p, table, ids: (p * 2, cr.take(table, ids)), donate=("p",))
    p = cr.Tensor(x.copy())
    with pytest.raises(cr.ArgumentError, match="99"):
        step(p, x, np.array([99]))
    assert np.array_equal(p, x)
    assert np.array_equal(step(p, x, np.array([1]))[0], 2 * x)


def test_static_values_that_are_equal_but_not_the_same():
    f = cr.jit(lambda x, kind: x + len(repr(kind)), static=("kind",))
    for kind in (1, 1.0, True, (1,), (1.0,), 0.0, -0.0):
        assert f(np.zeros(1, np.float32), kind).item() == len(repr(kind))


def test_one_state_given_twice_and_two_states():
    def f(a, b):
        a.renew(a + 1)
        return b * 2

    step = cr.jit(f)
    both = cr.State(np.float32([0]))
    assert step(both, both).item() == 2 and both.item() == 1
    a, b = cr.State(np.float32([0])), cr.State(np.float32([7]))
    assert (step(a, b).item(), a.item(), b.item()) == (14, 1, 7)


def test_a_state_given_back_is_the_object_that_was_passed():
    captured, state = cr.State(np.float32([5])), cr.State(np.float32([1]))

    def f(s):
        s.renew(s + 1)
        return s, captured

    step = cr.jit(f)
    for other in (state, cr.State(np.float32([1]))):
        found = step(other)
        assert found[0] is other and found[1] is captured and other.item() == 2


def test_a_call_that_raised_is_not_said_to_be_recorded_again():
    calls = iter([1])

    def g(x):
        if next(calls, None):
            raise ValueError
        return x + 1

    step = cr.jit(g)
    with pytest.raises(ValueError):
        step(np.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(np.ones(2))


def test_a_donated_tensor_that_an_output_views_is_not_written_over():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    f = cr.jit(lambda p: (p.T, p * 2, p.reshape(6)), donate=("p",))
    turned, doubled, flat = f(cr.Tensor(x.copy()))
    assert np.array_equal(turned, x.T) and np.array_equal(doubled, x * 2)
    assert np.array_equal(flat, x.ravel())


RATE = 2.0


def scaled(x):
    return x * RATE


def test_a_number_read_by_a_helper_or_a_method_is_seen(monkeypatch):
    x = np.ones(2, np.float32)
    through_helper = cr.jit(lambda x: scaled(x))

    class Layer:
        width = 1

        def __init__(self):
            self.factor = 2.0

        def apply(self, x):
            return x * self.factor

    layer = Layer()
    method = cr.jit(layer.apply)
    assert np.array_equal(through_helper(x), [2, 2]) and np.array_equal(method(x), [2, 2])
    monkeypatch.setitem(globals(), "RATE", 3.0)
    layer.factor = 4.0
    with pytest.warns(UserWarning, match="recorded again"):
        assert np.array_equal(through_helper(x), [3, 3])
    with pytest.warns(UserWarning, match="recorded again"):
        assert np.array_equal(method(x), [4, 4])
