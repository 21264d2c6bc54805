"""Opens the parts of the service and serves them."""
