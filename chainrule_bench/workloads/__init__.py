"""The workloads, a file each; importing one registers it. To add one: a file, and its name here."""

from chainrule_bench.workload import WORKLOADS
from chainrule_bench.workloads import (
    cnn,
    gpt,
    mlp,
    recsys,
    recsys_large,
    recurrent,
    resnet,
    tiny,
)
