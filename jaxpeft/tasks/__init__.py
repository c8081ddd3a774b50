"""What a task is: its labels, its loss, its scores."""
