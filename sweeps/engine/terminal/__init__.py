"""What a person, or a program, is told while a sweep runs."""
