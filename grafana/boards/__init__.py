"""The dashboards, as code: what they ask is in ``queries``, how they look in ``panels``, one file for each board."""
