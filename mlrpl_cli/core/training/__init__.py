"""From a configuration to a trained run.

In: a `TrainConfig` and a prepared folder. Out: a run folder. `loop` computes and writes nothing; `train` decides what
is kept.
"""
