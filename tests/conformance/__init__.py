"""What every strategy must do: each test runs once per strategy, through the public faces of store and strategy."""
