"""What only the strategy ``keyspace`` depends on: events, and the setting that they need."""
