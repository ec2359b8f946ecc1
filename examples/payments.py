"""A payment check that is retried while the bank says "pending", and that gives up after eight retries.

dueq retries a task that raises, each time after a longer delay: here 0.1 s, 0.2 s, 0.4 s … at most 10 minutes. When its
retries are used up it becomes a dead letter, which ``dueq dead list`` shows and ``dueq dead retry`` schedules again.
"""

from __future__ import annotations

import sys

from dueq import Backoff, Dueq, current

app = Dueq(namespace="payments")


class Pending(Exception):
    """The bank does not know yet."""


@app.task(queue="payments", retries=8, backoff=Backoff(first=0.1, factor=2, most=600), soft_timeout=30)
def check(payment: str, arrives_at_attempt: int) -> None:
    if current().attempt < arrives_at_attempt:  # stands for the call to a bank
        raise Pending(f"{payment} is pending")
    print(f"{payment}: paid, seen at attempt {current().attempt}", flush=True)


def main(payment: str) -> None:
    # the payment's name is the id: scheduling its check twice makes one task
    check.after(0.2, id=payment)(payment, 3)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["invoice-1"])
