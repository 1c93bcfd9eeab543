"""The sections of a report: each module has `section(data)`, a question and its answer."""
