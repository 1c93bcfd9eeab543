"""The plots of a report: each module has `figure(data)`, which makes a plotly figure."""
