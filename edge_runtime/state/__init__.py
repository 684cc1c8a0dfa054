"""What the device keeps: the store, its records, and the keys it trusts."""
