"""Deployment: writes the file from which Kubernetes, Ray's launcher or SLURM runs a study."""
