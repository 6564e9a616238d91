"""Launchers of fersweep for Hydra."""
