"""Tests of trained networks on other datasets, or on other parts of their own."""
