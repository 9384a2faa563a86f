"""A mix found by experiment: a swarm of proxies, each on another mix, laws of their losses, and the mix that these propose.

config    what a swarm is: pipelines/swarm/NAME.yaml
mixes     domains of a sharded dataset, and the mix of each run
train     runs in processes of `dolma-train many`
results   losses, laws and the proposal as datasets
run       all of it, resumed where it was
The numerics are in `dolma.mix` (swarm, regress, propose, conditional).
"""
