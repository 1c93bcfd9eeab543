"""A study's trials on Ray, which nothing else imports. Imports study and its parts."""
