"""What kit costs, beside what others cost: python -m kit bench.

Each job is a module whose `rows(scratch, results)` yields rows of the table; `scratch` is a folder that is removed
afterwards, `results` one that stays.
"""

JOBS = ("kernels", "objects", "samples", "prediction", "training", "start", "growth", "gpu")
