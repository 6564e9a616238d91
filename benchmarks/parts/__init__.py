"""The parts of ``python -m benchmarks``, one module each, with a function ``measure(settings)``."""
