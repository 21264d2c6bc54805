"""Faults from outside, and a ledger of what must survive them."""
