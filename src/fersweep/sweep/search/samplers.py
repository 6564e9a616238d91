"""Optuna's samplers and pruners by the names of the settings."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from fersweep.sweep.search.settings import Settings

if TYPE_CHECKING:
    import optuna


def sampler(settings: Settings, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for the next proposal; its random numbers depend on the seed and the number alone."""
    from optuna import samplers

    seed = (settings.seed * 1_000_003 + number) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental features of Optuna's
        if settings.sampler == "tpe":
            return samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=settings.startup
            )
        if settings.sampler == "cmaes":
            return samplers.CmaEsSampler(
                seed=seed, n_startup_trials=max(1, settings.startup), warn_independent_sampling=False
            )
        if settings.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=settings.startup)
        return samplers.RandomSampler(seed=seed)


def pruner(settings: Settings, epochs: int) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner; none for ``asha``, which is `fersweep.sweep.search.asha`."""
    from optuna import pruners

    if settings.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=settings.warmup)
    if settings.pruner == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=settings.first_rung, max_resource=epochs, reduction_factor=settings.factor
        )
    return pruners.NopPruner()
