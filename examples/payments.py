"""A payment check that asks again and again, for as long as the bank says "pending", and then gives up.

A task that raises is tried again, each time later: here after 0.1 s, 0.2 s, 0.4 s … at most 10 minutes apart. When its
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
    # the payment's own name as the id: asking twice for the check of one payment makes one
    check.after(0.2, id=payment)(payment, 3)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["invoice-1"])
