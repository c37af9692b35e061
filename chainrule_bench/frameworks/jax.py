"""JAX: a jitted step, also by the rows of tables that it reads, and many steps as one scan.

Read next: `keras.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chainrule_bench.framework import Form, Job, framework
from chainrule_bench.workload import Workload

B1, B2, EPSILON = 0.9, 0.999, 1e-7


def setup(job: Job) -> tuple[Any, Any]:
    """(the carry: parameters, states and the optimiser's state; a function that steps it)."""
    import jax
    from jax import numpy as jnp

    work, forward = job.workload, job.workload.models["jax"]()
    start, update = optimizer_of(work)

    def loss_fn(params: Any, states: Any, x: Any, y: Any) -> Any:
        out, states = forward(params, states, x)
        if work.loss == "mse":
            return jnp.mean((out - y) ** 2), states
        chosen = jnp.take_along_axis(jax.nn.log_softmax(out), y[..., None], -1)
        return -jnp.mean(chosen), states

    def step(carry: Any, x: Any, y: Any) -> Any:
        params, states, state = carry
        both, grads = jax.value_and_grad(loss_fn, has_aux=True)(params, states, x, y)
        params, state = update(params, grads, state)
        return (params, both[1], state), both[0]

    params, states = jax.tree.map(jnp.array, (job.weights, job.states))
    return (params, states, start(params)), step


def setup_rows(job: Job) -> tuple[Any, Any]:
    """The same, the gradients being those of the rows that are read, each row's added up first."""
    import jax
    from jax import numpy as jnp

    work = job.workload
    ids_of, forward = work.models["jax-rows"]()
    start, update = optimizer_of(work)

    def step(carry: Any, x: Any, y: Any) -> Any:
        tables, state = carry
        found = {
            name: jnp.unique(ids, return_inverse=True, size=len(ids), fill_value=len(tables[name]))
            for name, ids in ids_of(x).items()
        }

        def loss_fn(rows: Any) -> Any:
            read = {name: rows[name][places] for name, (_, places) in found.items()}
            return jnp.mean((forward(read) - y) ** 2)

        def rows_of(whole: Any) -> Any:
            return {name: whole[name][ids] for name, (ids, _) in found.items()}

        def put(whole: Any, rows: Any) -> Any:
            # What only fills up has the number of no row, and is dropped.
            return {name: whole[name].at[found[name][0]].set(rows[name]) for name in found}

        rows = rows_of(tables)
        loss, grads = jax.value_and_grad(loss_fn)(rows)
        new, sums = update(rows, grads, rows_of(state) if state else ())
        return (put(tables, new), put(state, sums) if state else ()), loss

    tables = jax.tree.map(jnp.array, job.weights)
    return (tables, start(tables)), step


def optimizer_of(work: Workload) -> tuple[Any, Any]:
    """(the state before the first update, the update) of the workload's optimiser."""
    import jax
    from jax import numpy as jnp

    def zeros(params: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, params)

    def adam(params: Any, grads: Any, state: Any) -> Any:
        t, m, v = state
        t = t + 1
        rate = work.rate * jnp.sqrt(1 - B2**t) / (1 - B1**t)
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, grads)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, grads)

        def move(p: Any, m: Any, v: Any) -> Any:
            return p - work.rate * work.decay * p - rate * m / (jnp.sqrt(v) + EPSILON)

        return jax.tree.map(move, params, m, v), (t, m, v)

    def adagrad(params: Any, grads: Any, sums: Any) -> Any:
        sums = jax.tree.map(lambda v, g: v + g * g, sums, grads)

        def move(p: Any, g: Any, v: Any) -> Any:
            return p - work.rate * g / jnp.sqrt(v + EPSILON)

        return jax.tree.map(move, params, grads, sums), sums

    def sgd(params: Any, grads: Any, state: Any) -> Any:
        return jax.tree.map(lambda p, g: p - work.rate * g, params, grads), state

    if work.optimizer in ("adam", "adamw"):
        return lambda params: (jnp.zeros(()), zeros(params), zeros(params)), adam
    if work.optimizer == "adagrad":
        return lambda params: jax.tree.map(lambda p: jnp.full_like(p, 0.1), params), adagrad
    return lambda params: (), sgd


class Jit:
    """One jitted call a step; its buffers donated."""

    def __init__(self, job: Job, setup: Callable = setup):
        import jax
        from jax import numpy as jnp

        self.carry, step = setup(job)
        self.step = jax.jit(step, donate_argnums=0)
        self.wait = jax.block_until_ready
        self.batches: list = job.pairs()
        if job.workload.tensors:
            self.batches = [tuple(map(jnp.array, pair)) for pair in self.batches]

    def steps(self, first: int, count: int) -> list:
        """A call for each step; calls run ahead of the computation."""
        batches, carry, losses = self.batches, self.carry, []
        for at in range(first, first + count):
            carry, loss = self.step(carry, *batches[at % len(batches)])
            losses.append(loss)
        self.carry = self.wait(carry)
        return losses


class Scan:
    """`lax.scan` over the numbers of the batches; the examples stay in JAX."""

    def __init__(self, job: Job):
        import jax
        from jax import lax, numpy as jnp

        self.carry, step = setup(job)
        size = job.workload.batch

        def many(carry: Any, x: Any, y: Any, first: Any, count: int) -> Any:
            def one(carry: Any, at: Any) -> Any:
                place = (at % job.epoch) * size
                return step(
                    carry,
                    lax.dynamic_slice_in_dim(x, place, size),
                    lax.dynamic_slice_in_dim(y, place, size),
                )

            return lax.scan(one, carry, first + jnp.arange(count))

        self.many = jax.jit(many, donate_argnums=0, static_argnums=4)
        self.wait = jax.block_until_ready
        self.x, self.y = jnp.array(job.x), jnp.array(job.y)

    def steps(self, first: int, count: int) -> list:
        """One call; another count is compiled anew."""
        carry, losses = self.many(self.carry, self.x, self.y, first, count)
        self.carry = self.wait(carry)
        return [losses]


framework(
    name="jax",
    packages=("jax", "jaxlib"),
    imports="import jax, jax.numpy",
    forms={
        "jit": Form("jax", "one", Jit),
        "scan": Form("jax", "many", Scan),
        "jit-rows": Form("jax-rows", "one", partial(Jit, setup=setup_rows)),
    },
    caches=("JAX_COMPILATION_CACHE_DIR",),
    settings={
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    },
)
