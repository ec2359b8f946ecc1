"""What every strategy must do: each test runs once per strategy, through the interfaces of store and strategy."""
