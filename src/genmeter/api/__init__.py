"""HTTP routes: a request in, a response out."""
