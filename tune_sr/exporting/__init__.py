"""Export of students and studies for other programs. Imports results, searchers and below."""
