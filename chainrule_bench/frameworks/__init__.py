"""The frameworks, a file each. Importing one imports no framework: its own process does, later.

To add one: a file that calls `framework(...)`, its name in the list below, and a model in the
workloads it is to be compared in. Read next: `torch.py`, the peer with most forms.
"""

from chainrule_bench.framework import FRAMEWORKS
from chainrule_bench.frameworks import chainrule, jax, keras, numpy, torch
