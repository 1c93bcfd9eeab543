"""Budgets: how much of each kind is looked at, which files of strangers and settings must keep to.

Far above what any published network, image or study needs; what exceeds one is refused in one line
that names the figure. README.md, section "Budgets", lists the same figures.
"""

from __future__ import annotations

from typing import Final

HEADER_BYTES: Final = 2**20
"""Bytes of what describes the tensors of a weights file: safetensors' header, torch's pickle, the
directory of an archive. Weights of the largest teachers take a fifth of it."""
READS: Final = 300_000
"""Pieces that a pickle is read in, most of them instructions; 5,000 tensors take 250,000."""
COMPRESSION: Final = 1
"""Bytes of content for each byte of an archive of weights: torch does not compress."""
ELEMENTS: Final = 2**28
"""Numbers in all tensors of a weights file together; VGG19 has 144 million."""
NODES: Final = 10_000
"""Names, containers and modules of a pickle, each counted as often as it is reached."""
PARAMETERS: Final = 2**27
"""Numbers of a network that is built here; EDSR's teacher has 43 million."""
BLOCKS: Final = 1_000
"""Blocks of a network, all its groups together; RCAN's teacher has 200."""
FEATURES: Final = 4_096
"""Width of a network; 256 in EDSR's teacher."""
PATCH: Final = 1_024
"""Side of a training patch at the network's body input; 48 in every paper."""
COUNT: Final = 2**20
"""Any other count that memory grows with: images of a batch, entries of a bank or of z."""
PIXELS: Final = 2**26
"""Pixels of one image: 8192x8192; a photograph of DIV8K has 47 million."""
YAML_BYTES: Final = 2**15
"""Bytes of a YAML file that is handed over; the largest space here has 2,869."""
NESTING: Final = 32
"""Levels of mappings and lists inside each other, in YAML and in a file's own description."""
DIMENSIONS: Final = 64
"""Quantities that a space searches."""
STEPS: Final = 10**9
"""Values of one range with steps: `quniform`, `randint`, `lograndint`."""
REPORTS: Final = 100_000
"""Evaluations in one trial."""
TRIALS: Final = 1_000_000
"""Trials of a study."""
THREADS: Final = 1_024
"""CPU threads of one process."""
NAME_LENGTH: Final = 128
"""Characters of a study's name, which a file system has to hold."""
LINE_LENGTH: Final = 1_000
"""Characters of a refusal that are shown."""
