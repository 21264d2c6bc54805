"""What a record is: its bots and fields."""
