"""Programs that measure; run each from the repository's root as ``python -m benchmarks.NAME``."""
