"""What happened in a study: events, their file, and what they add up to. Imports storage."""
