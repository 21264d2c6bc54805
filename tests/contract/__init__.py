"""The contract's rules by number: C1 to C23 for the question, R1 to R7 for recording."""
