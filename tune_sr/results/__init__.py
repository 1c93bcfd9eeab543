"""What a study found: results, students, summaries. Imports study, tracking and visualization."""
