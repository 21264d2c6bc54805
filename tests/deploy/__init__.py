"""The files in deploy/: read by the programs they are for, and run as far as that goes here."""
