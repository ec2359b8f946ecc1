"""How tasks lie in Redis: keys, records and scripts, Python and Lua side by side."""
