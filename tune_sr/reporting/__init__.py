"""The page of a study, its figures and tables for papers. Imports results and statistics."""
