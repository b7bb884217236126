"""What a user finds where metaprobe runs: versions, threads, devices, memory, data, and what is wrong with them."""

from metaprobe.probe.doctor.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
