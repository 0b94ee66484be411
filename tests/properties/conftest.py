"""Hypothesis in this folder: no example is judged by how long it took, on whatever machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")
