"""Quality of upscaled images under the protocols of published tables, and costs of networks."""
