"""Prints what pynvml reads from the libnvidia-ml.so.1 that the loader finds."""

import pynvml as n

n.nvmlInit()
device = n.nvmlDeviceGetHandleByIndex(0)
print("driver", n.nvmlSystemGetDriverVersion())
print("count", n.nvmlDeviceGetCount())
print("vbios", n.nvmlDeviceGetVbiosVersion(device))
caps = n.nvmlSystemGetConfComputeCapabilities()
print("capabilities", caps.cpuCaps, caps.gpusCaps)
state = n.nvmlSystemGetConfComputeState()
print("state", state.environment, state.ccFeature, state.devToolsMode)
settings = n.c_nvmlSystemConfComputeSettings_v1_t()
settings.version = n.nvmlSystemConfComputeSettings_v1
n._nvmlCheckReturn(n.nvmlSystemGetConfComputeSettings(n.byref(settings)))
print("settings", settings.environment, settings.ccFeature, settings.devToolsMode, settings.multiGpuMode)
print("ready", n.nvmlSystemGetConfComputeGpusReadyState())
print("memory", n.nvmlDeviceGetMemoryInfo(device, version=n.nvmlMemory_v2).total)
print("advantage", n.nvmlSystemGetConfComputeKeyRotationThresholdInfo().attackerAdvantage)
chain = n.nvmlDeviceGetConfComputeGpuCertificate(device)
print("chain", bytes(chain.attestationCertChain[: chain.attestationCertChainSize]).hex())
nonce = (n.c_uint8 * 32)(*[0x5A] * 32)
report = n.nvmlDeviceGetConfComputeGpuAttestationReport(device, nonce)
print("report", bytes(report.attestationReport[: report.attestationReportSize]).hex())
n.nvmlShutdown()
