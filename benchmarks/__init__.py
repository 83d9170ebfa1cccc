"""What the store costs, beside its peers and its limits: ``python -m benchmarks``."""
