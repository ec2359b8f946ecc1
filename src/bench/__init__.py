"""Measures the strategies on this machine and this Redis, so that people can choose one by its figures."""
