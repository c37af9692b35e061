"""Where gradients come from: partitions, derivations, flow through layers, influence.

Read next: `explanation.py`.
"""
