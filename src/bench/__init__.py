"""Measuring the strategies on this machine and this Redis, so that the choice of one is a measurement."""
