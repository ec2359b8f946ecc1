"""Reminders: the example of the README. Run its tasks by ``dueq run shop:app``; schedule some by ``python shop.py``."""

from __future__ import annotations

import time

from dueq import Dueq, current

app = Dueq(namespace="shop")


@app.task(queue="mail", retries=5)
def remind(user_id: int, text: str) -> None:
    print(f"user {user_id}: {text} (attempt {current().attempt})", flush=True)


@app.task()
def slow(seconds: float) -> None:
    print(f"slow: attempt {current().attempt} begins", flush=True)
    time.sleep(seconds)


@app.handler
def anything(data: object) -> None:
    print("got", data, flush=True)


def main() -> None:
    remind.after(0.5)(42, "your cart is waiting")
    later = remind.after(3600, id="cart-43")(43, "yours is, too")
    print("again under the same id:", remind.after(3600, id="cart-43")(43, "yours is, too").created)
    print("moved:", later.reschedule(after=7200), "cancelled:", later.cancel())
    many = app.schedule_many([remind.call_after(1)(user, "hello") for user in range(3)])
    app.schedule_task(time.time() + 1, {"any": "JSON"})
    print(f"scheduled {len(many) + 2}")


if __name__ == "__main__":
    main()
