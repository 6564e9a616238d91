"""Launchers and sweeper of fersweep for Hydra."""
