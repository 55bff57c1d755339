"""Critics and generators, a module a pair; `wgan_core.networks.PAIRS` names them."""
