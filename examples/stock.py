"""An effect outside Redis that happens once, although a task may run twice.

If a worker is killed in the middle of a task, part of the task may be done, and the task runs again. Here the database
keeps the effect single: one transaction books the task's id, which can be booked only once, and takes the pieces off
stock. The fencing token is stored with the id: it shows which start of the task did the work.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

from dueq import Dueq, current

app = Dueq(namespace="stock")

DATABASE = os.environ.get("STOCK_DATABASE", "stock.db")


def connected() -> sqlite3.Connection:
    connection = sqlite3.connect(DATABASE, timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS booked (id TEXT PRIMARY KEY, token INTEGER NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, left_over INTEGER NOT NULL)")
    return connection


@app.task()
def book(sku: str, pieces: int) -> None:
    task = current()
    with closing(connected()) as connection, connection:  # one transaction: both rows, or neither
        seen = connection.execute("SELECT token FROM booked WHERE id = ?", (task.id,)).fetchone()
        if seen is not None:
            print(f"{task.id} was booked before, under token {seen[0]}", flush=True)
            return
        connection.execute("INSERT INTO booked VALUES (?, ?)", (task.id, task.token))
        connection.execute("UPDATE stock SET left_over = left_over - ? WHERE sku = ?", (pieces, sku))


def main() -> None:
    with closing(connected()) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO stock VALUES ('tea', 100)")
    app.schedule_many([book.call_after(0, id=f"order-{number}")("tea", 2) for number in range(10)])


if __name__ == "__main__":
    main()
