"""What can be asked: parameters -> a checked query. Pure."""
