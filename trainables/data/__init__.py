"""Reads training, held-out and benchmark images, makes LR images, and cuts training patches."""
