"""How good an upscaled image is, under the protocols that published tables use."""
