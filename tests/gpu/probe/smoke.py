"""What a container sees of the GPUs, told in the form of a smoke script: the driver's library, and nothing else."""

import ctypes
import json
import os


def main() -> None:
    """Report each visible device's name and compute capability as the driver gives them."""
    driver = ctypes.CDLL("libcuda.so.1")
    status = driver.cuInit(0)
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    devices = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(256)
        major, minor = ctypes.c_int(), ctypes.c_int()
        driver.cuDeviceGetName(name, 256, number)
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, number)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, number)
        devices.append(f"{name.value.decode()} {major.value}.{minor.value}")
    measured = {"status": status, "devices": devices, "user": os.getuid()}
    outcome = "passed" if status == 0 and devices else "failed"
    print(json.dumps({"check": "device", "outcome": outcome, "detail": "", "measured": measured}))


if __name__ == "__main__":
    main()
