"""Steps of the cards compiled for devices that this machine does not have.

`experiments.pod_check` (TPU pods) and `experiments.gpu_check` (NVIDIA GPUs) say what is compiled
and how it is told; here is what they share: the devices as data (`platforms`), a step and what its
compiler says of it (`programs`), each in a process of its own (`children`), and results that grow
(`results`).
"""
