"""Every statement about records. Pure."""
