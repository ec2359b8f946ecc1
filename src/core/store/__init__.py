"""A task's life: every transition, in two stores; and the interface of the strategies, which make one transition."""
