"""The compose file and the Kubernetes manifests run the same six processes as the local stack, and hold no secrets."""

from collections.abc import Iterator
from typing import cast

import yaml
from pydantic import JsonValue, SecretStr

from deploy.local.configuration import StackConfiguration
from deploy.local.kafka_jars import KAFKA_VERSION, pinned_jars
from deploy.local.ports import Ports
from deploy.local.postgres import POSTGRES_MAJOR
from deploy.local.stack import Stack
from shared.http.server import connection_limits
from shared.http.settings import HttpSettings
from tests.servers.infrastructure import PROJECT_FOLDER

_DEPLOY = PROJECT_FOLDER / "deploy"
_PROCESSES = set(Stack(StackConfiguration(state_folder=PROJECT_FOLDER, ports=Ports.from_base(8100))).service_names)


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return value


def _compose_services() -> dict[str, JsonValue]:
    return _mapping(yaml.safe_load((_DEPLOY / "compose.yaml").read_text())["services"])


def _manifests(kind: str) -> Iterator[dict[str, JsonValue]]:
    for path in sorted((_DEPLOY / "k8s").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == kind:
                yield document


def _containers(manifest: dict[str, JsonValue]) -> Iterator[dict[str, JsonValue]]:
    pod = _mapping(_mapping(_mapping(manifest["spec"])["template"])["spec"])
    containers = pod["containers"]
    assert isinstance(containers, list)
    yield from map(_mapping, containers)


def _variables(container: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    variables = container.get("env", [])
    assert isinstance(variables, list)
    return [_mapping(variable) for variable in variables]


def test_compose_runs_the_six_processes_after_the_preparation() -> None:
    services = _compose_services()
    assert set(services) == _PROCESSES | {"postgres", "kafka", "prepare"}
    for name in _PROCESSES:
        assert _mapping(services[name])["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}


def test_compose_publishes_on_loopback_only() -> None:
    for service in _compose_services().values():
        ports = _mapping(service).get("ports", [])
        assert isinstance(ports, list)
        assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_compose_uses_the_versions_of_the_local_stack() -> None:
    services = _compose_services()
    assert _mapping(services["kafka"])["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert _mapping(services["postgres"])["image"] == f"postgres:{POSTGRES_MAJOR}"
    assert {jar.version for jar in pinned_jars() if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}


def test_kubernetes_has_a_probed_and_limited_deployment_for_each_process() -> None:
    deployments = {str(_mapping(manifest["metadata"])["name"]): manifest for manifest in _manifests("Deployment")}
    assert set(deployments) == _PROCESSES
    for manifest in deployments.values():
        for container in _containers(manifest):
            assert {"readinessProbe", "livenessProbe", "resources"} <= container.keys()
            assert all("value" not in variable for variable in _variables(container))


def test_kubernetes_references_secrets_and_contains_none() -> None:
    assert list(_manifests("Secret")) == []
    (job,) = _manifests("Job")
    for manifest in (job, *_manifests("Deployment")):
        for container in _containers(manifest):
            sources = container["envFrom"]
            assert isinstance(sources, list)
            assert {"secretRef": {"name": "attain"}} in sources


def test_services_connect_as_logins_of_their_own() -> None:
    services = _compose_services()
    for process in _PROCESSES:
        service = process.partition("-")[0]
        url = str(_mapping(_mapping(services[process])["environment"])["ATTAIN_DATABASE_URL"])
        assert url.startswith(f"postgresql://attain_{service}:")
    for manifest in _manifests("Deployment"):
        service = str(_mapping(manifest["metadata"])["name"]).partition("-")[0]
        for container in _containers(manifest):
            sources = container["envFrom"]
            assert isinstance(sources, list)
            assert {"secretRef": {"name": f"attain-{service}"}} in sources
            assert {"secretRef": {"name": "attain-owner"}} not in sources


def test_what_is_for_operators_is_on_a_port_that_no_route_reaches() -> None:
    settings = yaml.safe_load((_DEPLOY / "k8s" / "kustomization.yaml").read_text())
    literals = settings["configMapGenerator"][0]["literals"]
    assert {"ATTAIN_OPERATIONS_PORT=8081", "ATTAIN_WORKER_PORT=8081"} <= set(literals)
    for manifest in _manifests("Deployment"):
        for container in _containers(manifest):
            for probe in ("readinessProbe", "livenessProbe"):
                assert _mapping(_mapping(container[probe])["httpGet"])["port"] == "operations"
            assert {"name": "operations", "containerPort": 8081} in cast(list[JsonValue], container["ports"])
    for service in _manifests("Service"):
        assert _mapping(service["spec"])["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


def test_the_gateway_routes_hooks_and_apis_alone_and_holds_the_limits_of_the_processes() -> None:
    routed = set()
    for route in _manifests("HTTPRoute"):
        for rule in cast(list[dict[str, JsonValue]], _mapping(route["spec"])["rules"]):
            for match in cast(list[dict[str, JsonValue]], rule["matches"]):
                routed.add(str(_mapping(match["path"])["value"]))
            (backend,) = cast(list[dict[str, JsonValue]], rule["backendRefs"])
            assert backend["name"] in {str(_mapping(each["metadata"])["name"]) for each in _manifests("Service")}
    assert routed == {"/hooks", "/v1"}
    (client,) = _manifests("ClientTrafficPolicy")
    limits = connection_limits(HttpSettings(jwt_secret=SecretStr("x" * 32)))
    http = _mapping(_mapping(_mapping(client["spec"])["timeout"])["http"])
    assert http["requestReceivedTimeout"] == f"{limits.body_seconds_max:.0f}s"
    (backend_policy,) = _manifests("BackendTrafficPolicy")
    body_bytes_max = HttpSettings.model_fields["body_bytes_max"].default
    assert _mapping(_mapping(backend_policy["spec"])["requestBuffer"])["limit"] == f"{body_bytes_max >> 20}Mi"
    kustomization = yaml.safe_load((_DEPLOY / "k8s" / "kustomization.yaml").read_text())
    assert "gateway.yaml" in kustomization["resources"]
    connections_max = HttpSettings.model_fields["connections_max"].default
    literals = kustomization["configMapGenerator"][0]["literals"]
    assert f"ATTAIN_CONNECTIONS_PER_PEER_MAX={connections_max}" in literals


def test_tracking_knows_where_crms_reach_it() -> None:
    services = _compose_services()
    for name in ("tracking-api", "tracking-worker"):
        assert "ATTAIN_PUBLIC_URL" in _mapping(_mapping(services[name])["environment"])
    named = [
        manifest
        for manifest in _manifests("Deployment")
        for container in _containers(manifest)
        if any(variable["name"] == "ATTAIN_PUBLIC_URL" for variable in _variables(container))
    ]
    assert [_mapping(manifest["metadata"])["name"] for manifest in named] == ["tracking-api", "tracking-worker"]
    settings = yaml.safe_load((_DEPLOY / "k8s" / "kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    assert any(literal.startswith("ATTAIN_TRACKING_PUBLIC_URL=https://") for literal in settings)
