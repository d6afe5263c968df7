"""Where the processor time goes, by process."""

import psutil

from deploy.local.bench.servers import Servers
from deploy.local.stack import Stack


def cpu_seconds(servers: Servers, stack: Stack) -> dict[str, float]:
    """What each process of the stack and its servers has used so far."""
    used = {name: _used(psutil.Process(stack.process(name).pid)) for name in stack.service_names}
    used["Postgres"] = postgres_cpu_seconds(servers)
    used["Kafka"] = _used(psutil.Process(servers.broker.process.pid))
    return used


def postgres_cpu_seconds(servers: Servers) -> float:
    """What Postgres has used so far, with all that work or have worked for it."""
    postmaster = psutil.Process(servers.postgres.pid)
    return sum(_used(process) for process in (postmaster, *postmaster.children()))


def _used(process: psutil.Process) -> float:
    """With its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
