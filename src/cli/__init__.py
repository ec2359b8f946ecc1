"""The command line: one file per group of commands, put together in ``app``. Nothing else imports it."""
