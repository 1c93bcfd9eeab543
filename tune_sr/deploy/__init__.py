"""A study on a cluster: the files that Kubernetes, Ray's launcher and SLURM start it from."""
