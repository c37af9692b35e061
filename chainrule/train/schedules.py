r"""Learning-rate schedules: functions from the number of updates made before to a rate.

Each is made once and given as `learning_rate=` of any optimiser; it is computed inside the
compiled step, from the count in the optimiser's state, so training that is resumed goes on where
it was. `cosine(0.1, 100)(50)` is a number to look at; `float(...)` of it works. A schedule of
your own is any function of a float64 tensor built from chainrule's functions. What depends on
the loss instead is a callback, `ReduceLROnPlateau`. Read next: `rates.py`.

>>> from chainrule.train import optim
>>> opt = optim.Adam(warmup(cosine(1e-3, 900), 100))
>>> [round(float(opt.learning_rate(step)), 6) for step in (0, 99, 100, 550, 1000)]
[1e-05, 0.001, 0.001, 0.0005, 0.0]
"""

from chainrule.train.rates import (
    CHECKS,
    SCHEDULES,
    Schedule,
    constant,
    exponential,
    piecewise,
    polynomial,
    register,
    warmup,
)
from chainrule.train.waves import cosine, one_cycle

__all__ = [
    "CHECKS",
    "SCHEDULES",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "one_cycle",
    "piecewise",
    "polynomial",
    "register",
    "warmup",
]
