"""The contestants of compare.py: the plain loop, fit and five other trainers, one module each, and what they are given.

Each module has a function per workload, `step`, `in_memory` and `set_up`. It takes a task of tasks.py, sets everything up, and returns a
function that trains and returns the trained module. Only that function is timed.
"""

NAMES = {
    "plain": "plain loop",
    "sliced": "plain loop, batches cut beforehand",
    "fit": "fit",
    "ignite": "pytorch-ignite",
    "poutyne": "poutyne",
    "accelerate": "accelerate",
    "lightning": "Lightning",
    "keras": "Keras 3 on torch",
}
"""The contestants' titles by their modules, in the order in which they are shown."""

WORKLOADS = {"step": "step", "set_up": "set-up", "in_memory": "in memory"}
