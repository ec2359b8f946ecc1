"""The dashboards, as code: ``queries`` has the PromQL, ``panels`` the look; each board has a file of its own."""
