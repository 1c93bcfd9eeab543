"""A search space with every distribution and two conditional quantities, for tests of searchers."""

FIXED = """\
fixed:
  method: {name: dfsr}
  student: {name: vdsr, features: 8, blocks: 6, scales: [2]}
  teacher: {name: vdsr, weights: shipped, scales: [2]}
  batch: {images: 4, patch: 24}
  budget: {steps: 100, steps_per_report: 10}
"""
"""What is fixed in the spaces that tests search without training."""
SPACE = (
    FIXED
    + """\
search:
  method.w_R: {uniform: [0.0, 3.0]}
  method.P: {choice: [1, 2, 3]}
  method.part_fraction: {quniform: [0.1, 0.3, 0.05], when: {method.P: [2, 3]}}
  method.new_block_init: {choice: [random, near_identity], when: {method.P: [2, 3]}}
  method.update_ratio: {lograndint: [1, 50]}
  method.latent: {randint: [8, 12]}
  optimiser.clip: {choice: [null, 0.4, 1.0]}
  optimiser.lr: {loguniform: [0.03, 0.3]}
first:
  - {method.w_R: 1.0, method.P: 2, method.part_fraction: 0.15, method.new_block_init: random,
     method.update_ratio: 5, method.latent: 8, optimiser.clip: 0.4, optimiser.lr: 0.1}
study: {experiment: toy}
"""
)
