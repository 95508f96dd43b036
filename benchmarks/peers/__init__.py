"""The contestants of compare.py: the plain loop, fit and five other trainers, one module each, and what they are given.

Each module has a function per workload, `step`, `in_memory` and `set_up`. It takes a task of tasks.py, sets everything up, and returns a
function that trains and returns the trained module. Only that function is timed.
"""
