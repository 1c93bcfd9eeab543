"""Training and held-out photographs, and the patches cut from them."""
