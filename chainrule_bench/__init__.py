"""`chainrule bench`: the same training steps in chainrule and in its peers, side by side.

A package beside chainrule, not in it: what it times is written as a user would write it, and its
workers run in the peers' interpreters, where chainrule need not be installed. A workload is one
file in `workloads/`, a framework one file in `frameworks/`; neither is imported before its own
process needs it.

Read in this order: `workload.py` (what is trained), `framework.py` and `frameworks/` (how),
`worker.py` (one framework's process), `peers.py` (starting and asking it), `quiet.py` (was the
machine ours?), `machine.py` (what it can do at most), `rounds.py` (taking turns), `compare.py`
(workloads, and what follows from the times), `shapes.py` and `compare_shapes.py` (single products
and convolutions), `report.py` (the tables).
"""
