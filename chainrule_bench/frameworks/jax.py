"""JAX: a jitted step, and many steps as one scan. Read next: `keras.py`."""

from __future__ import annotations

from typing import Any

from chainrule_bench.framework import Form, Job, framework

B1, B2, EPSILON = 0.9, 0.999, 1e-7


def setup(job: Job) -> tuple[Any, Any]:
    """(the carry: parameters, states and the optimiser's state; a function that steps it)."""
    import jax
    from jax import numpy as jnp

    work, forward = job.workload, job.workload.models["jax"]()

    def loss_fn(params: Any, states: Any, x: Any, y: Any) -> Any:
        out, states = forward(params, states, x)
        if work.loss == "mse":
            return jnp.mean((out - y) ** 2), states
        chosen = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1)
        return -jnp.mean(chosen), states

    def adam(params: Any, grads: Any, state: Any) -> Any:
        t, m, v = state
        t = t + 1
        rate = work.rate * jnp.sqrt(1 - B2**t) / (1 - B1**t)
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, grads)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, grads)
        move = lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON)  # noqa: E731
        return jax.tree.map(move, params, m, v), (t, m, v)

    def sgd(params: Any, grads: Any, state: Any) -> Any:
        return jax.tree.map(lambda p, g: p - work.rate * g, params, grads), state

    def step(carry: Any, x: Any, y: Any) -> Any:
        params, states, state = carry
        both, grads = jax.value_and_grad(loss_fn, has_aux=True)(params, states, x, y)
        update = adam if work.optimizer == "adam" else sgd
        params, state = update(params, grads, state)
        return (params, both[1], state), both[0]

    params, states = jax.tree.map(jnp.array, (job.weights, job.states))
    zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    state = (jnp.zeros(()), zeros(), zeros()) if work.optimizer == "adam" else ()
    return (params, states, state), step


class Jit:
    """One jitted call a step; its buffers donated."""

    def __init__(self, job: Job):
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
    forms={"jit": Form("jax", "one", Jit), "scan": Form("jax", "many", Scan)},
    caches=("JAX_COMPILATION_CACHE_DIR",),
    settings={
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    },
)
