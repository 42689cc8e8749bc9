"""From what was sampled to what readers see, with a version that grows when something visible changed."""
