"""Settings of the devices of a process, before JAX starts them."""

import dataclasses

from wonn_jax.common.checks import at_least


@dataclasses.dataclass(frozen=True)
class DeviceConfig:
    """Devices of this process, and what is compiled for them."""

    cpu_devices: int = 0  # split a CPU into so many devices; 0: leave it to JAX
    compilation_cache: str = ""  # folder of compiled programs, to start faster again; '': none

    def check(self) -> None:
        at_least(0, "devices", self, "cpu_devices", most=1000)
