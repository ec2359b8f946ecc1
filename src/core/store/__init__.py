"""A task's life: every transition, in two stores; and the strategies, which make one of them."""
