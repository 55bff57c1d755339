"""Critics and generators, a module a pair; `wgan_core.networks.network.PAIRS` names them."""
