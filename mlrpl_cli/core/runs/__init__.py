"""The run folder: options of a run with no value left open, checkpoints that rebuild their own model, the log.

In: a `TrainConfig` and a prepared folder; or a run's path. Out: resolved options, checkpoints, logs.
"""
