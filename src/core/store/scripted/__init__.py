"""The store on servers with scripts: a transition is one Lua script."""
