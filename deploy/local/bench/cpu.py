"""Where the processor time goes, by process."""

import psutil

from deploy.local.bench.servers import Servers
from deploy.local.stack import Stack


def cpu_seconds(servers: Servers, stack: Stack) -> dict[str, float]:
    """What each process of the stack and its servers has used so far; Postgres with all that work for it."""
    used = {name: _used(psutil.Process(stack.process(name).pid)) for name in stack.service_names}
    postmaster = psutil.Process(servers.postgres.pid)
    used["Postgres"] = sum(_used(process) for process in (postmaster, *postmaster.children()))
    used["Kafka"] = _used(psutil.Process(servers.broker.pid))
    return used


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
