"""Budgets: upper limits for settings and for files from untrusted sources.

They are far above what any published network, image or study needs; what exceeds one is refused in
one line that names the limit. README.md, section "Budgets", lists the same figures.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 2**20
"""Bytes of the description of a weights file's tensors: safetensors' header, torch's pickle, the
directory of an archive. The largest teachers' take a fifth of it."""
READS: Final = 300_000
"""Reads from a pickle, most of them instructions; 5,000 tensors take 250,000."""
COMPRESSION: Final = 1
"""Bytes of content for each byte of a weights archive: torch does not compress."""
ELEMENTS: Final = 2**28
"""Numbers in all tensors of a weights file together; VGG19 has 144 million."""
NODES: Final = 10_000
"""Names, containers and modules of a pickle, each counted as often as it is reached."""
PARAMETERS: Final = 2**27
"""Parameters of a network; EDSR's teacher has 43 million."""
BLOCKS: Final = 1_000
"""Blocks of a network, all its groups together; RCAN's teacher has 200."""
FEATURES: Final = 4_096
"""Feature channels of a network; 256 in EDSR's teacher."""
PATCH: Final = 1_024
"""Side of a training patch at the network's body input; 48 in every paper."""
COUNT: Final = 2**20
"""Any other count that memory grows with: images in a batch, entries of a bank, numbers in z."""
PIXELS: Final = 2**26
"""Pixels of one image: 8192x8192; a photograph of DIV8K has 47 million."""
YAML_BYTES: Final = 2**15
"""Bytes of a YAML file; the largest space here has 2,869."""
NESTING: Final = 32
"""Levels of nested mappings and lists, in YAML and in a weights file's description."""
DIMENSIONS: Final = 64
"""Searched dimensions of a space."""
STEPS: Final = 10**9
"""Values of one stepped range: `quniform`, `randint`, `lograndint`."""
REPORTS: Final = 100_000
"""Reports of one trial."""
TRIALS: Final = 1_000_000
"""Trials of a study."""
SEEDS: Final = 1_000
"""Seeds of a study's confirmation."""
THREADS: Final = 1_024
"""CPU threads of one process."""
NAME_LENGTH: Final = 128
"""Characters of a study's name, which becomes a folder's name."""
LINE_LENGTH: Final = 1_000
"""Characters of a refusal that are printed."""
