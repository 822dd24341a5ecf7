"""Prints what each call returns that changes the driver's state, or asks in a wrong way. Root's when it starts."""

import ctypes
import os
import sys

library = ctypes.CDLL(sys.argv[1])
number = ctypes.c_uint()


class Settings(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("values", ctypes.c_uint * 4)]


class Threshold(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("advantage", ctypes.c_ulonglong)]


def ready(value):
    return library.nvmlSystemSetConfComputeGpusReadyState(value)


def threshold(version, advantage):
    info = Threshold(version, advantage)
    return library.nvmlSystemSetConfComputeKeyRotationThresholdInfo(ctypes.byref(info))


def state():
    assert library.nvmlSystemGetConfComputeGpusReadyState(ctypes.byref(number)) == 0
    return number.value


print("before init", library.nvmlDeviceGetCount_v2(ctypes.byref(number)), ready(1))
print("init", library.nvmlInit_v2())
print("null", library.nvmlDeviceGetCount_v2(None), library.nvmlDeviceGetUUID(None, None, 0))
for version in (0x01000014, 0x02000014, 20):
    settings = Settings(version)
    print("settings", hex(version), library.nvmlSystemGetConfComputeSettings(ctypes.byref(settings)))
print("threshold", threshold(16, 60), threshold(0x01000010, 49), threshold(0x01000010, 65))
os.seteuid(65534)
print("not root", ready(1), threshold(0x01000010, 60), state())
os.seteuid(0)
print("0 before 1", ready(0), state())
print("1 twice", ready(1), ready(1), state())
print("threshold when ready", threshold(0x01000010, 60))
print("2", ready(2), state())
print("0 after 1", ready(0), state())
print("latched", ready(1), ready(0), state())
print("shutdown", library.nvmlShutdown(), library.nvmlShutdown())
