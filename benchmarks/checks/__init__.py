"""The checks of ``python -m benchmarks NAME``, one module each, with ``add_arguments(parser)`` and ``run(asked)``."""
