"""What import rules can not see: domain code has no clock, no chance, no fresh ids, no binary fractions, no waiting."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

ROOT = Path(__file__).parents[2]

_FORBIDDEN_MODULES = frozenset({"random", "secrets", "time", "uuid_utils"})
_FORBIDDEN_NAMES = frozenset({"uuid1", "uuid3", "uuid4", "uuid6", "uuid8", "getnode", "urandom"})
_CLOCK_METHODS = frozenset({"now", "today", "utcnow"})
_CLOCK_CLASSES = frozenset({"date", "datetime", "dt"})
# The kernel's own uuid7 is pure: time and entropy are its arguments.
_PURE_UUID7 = "shared.kernel.ids"


def domain_files(root: Path = ROOT) -> list[Path]:
    """Every file that holds rules: the domains of rooms and of shared runtimes, the kernel, and what reads sources."""
    files = [
        *root.glob("services/**/domain.py"),
        *root.glob("services/**/domain/**/*.py"),
        *root.glob("services/tracking/intake/sources/**/*.py"),
        *(root / f"services/tracking/intake/inbox/{name}.py" for name in ("fetched", "translation")),
        *root.glob("shared/*/domain.py"),
        *root.glob("shared/kernel/**/*.py"),
    ]
    return sorted(set(files))


def breaches(source: str) -> list[str]:
    """What a domain file may not say, with its line."""
    return [f"line {line}: {what}" for line, what in _breaches(ast.parse(source))]


def _breaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in _FORBIDDEN_MODULES:
                        yield node.lineno, f"import {alias.name}"
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in _FORBIDDEN_MODULES:
                    yield node.lineno, f"from {module} import …"
                for alias in names:
                    if alias.name in _FORBIDDEN_NAMES or (alias.name == "uuid7" and module != _PURE_UUID7):
                        yield node.lineno, f"from {module} import {alias.name}"
            case ast.Call(func=ast.Name(id="float")):
                yield node.lineno, "float("
            case ast.Attribute(value=value, attr=attribute):
                owner = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
                if attribute in _CLOCK_METHODS and owner in _CLOCK_CLASSES:
                    yield node.lineno, f"{owner}.{attribute}"
                if attribute in _FORBIDDEN_NAMES | {"uuid7"} and owner in ("uuid", "os", "uuid_utils"):
                    yield node.lineno, f"{owner}.{attribute}"
            case ast.AsyncFunctionDef(name=name):
                yield node.lineno, f"async def {name}"
            case ast.Await():
                yield node.lineno, "await"


def test_there_is_domain_code_to_hold_to_the_rules() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in domain_files()}
    assert {
        "services/goals/org/domain.py",
        "services/incentives/earnings/domain/payout.py",
        "services/tracking/intake/calling/domain.py",
        "services/tracking/intake/inbox/domain/records.py",
        "services/tracking/intake/inbox/translation.py",
        "services/tracking/intake/sources/zoho/adapter.py",
        "services/tracking/records/domain/snapshots.py",
        "shared/kernel/money.py",
    } <= names


def test_a_domain_is_found_wherever_it_stands(tmp_path: Path) -> None:
    planted = [
        "services/goals/room/domain.py",
        "services/goals/room/domain/deep/rules.py",
        "services/tracking/wing/room/domain.py",
        "services/tracking/wing/room/domain/rules.py",
    ]
    for name in planted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {path.relative_to(tmp_path).as_posix() for path in domain_files(tmp_path)}
    assert found >= set(planted)


@pytest.mark.parametrize("path", domain_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_domain_code_has_no_clock_chance_fresh_ids_floats_or_waiting(path: Path) -> None:
    assert breaches(path.read_text()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from datetime import datetime\nnow = datetime.now()",
        "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
        "from datetime import date\nread = date.today",
        "import datetime as dt\nnow = dt.datetime.utcnow()",
        "import time",
        "from time import monotonic",
        "import random",
        "from random import SystemRandom",
        "from secrets import token_bytes",
        "import uuid\nfresh = uuid.uuid4()",
        "from uuid import uuid4",
        "from uuid import uuid1 as fresh",
        "import uuid_utils.compat",
        "from somewhere import uuid7",
        "import os\nchance = os.urandom(10)",
        "from os import urandom",
        "share = float('0.1')",
        "async def load() -> None: ...",
        "async def outer() -> None:\n    await inner()",
    ],
)
def test_a_planted_breach_is_seen(planted: str) -> None:
    assert breaches(planted)


@pytest.mark.parametrize(
    "allowed",
    [
        "from uuid import UUID, uuid5",
        "from shared.kernel.ids import uuid7",
        "from datetime import UTC, date, datetime\nd = datetime.combine(date(2026, 1, 1), t, UTC)",
        "ok = isinstance(value, float)",
        "from decimal import Decimal\nshare = Decimal('0.1')",
    ],
)
def test_what_is_pure_is_left_alone(allowed: str) -> None:
    assert breaches(allowed) == []


def test_package_markers_are_empty() -> None:
    filled = [
        path.relative_to(ROOT).as_posix()
        for top in ("services", "shared", "deploy", "migrations", "tests")
        for path in (ROOT / top).rglob("__init__.py")
        if path.read_text().strip()
    ]
    assert filled == []


def test_nothing_is_called_utils_or_helpers() -> None:
    banned = {"util", "utils", "helper", "helpers", "common", "misc"}
    found = [
        path.relative_to(ROOT).as_posix()
        for top in ("services", "shared", "deploy", "migrations", "tests")
        for path in (ROOT / top).rglob("*.py")
        if path.stem in banned or path.parent.name in banned
    ]
    assert found == []


def table_rooms(root: Path = ROOT) -> dict[str, Path]:
    """Each table of a room, as SQL names it, and the room's folder. Those of `shared.db` are every room's."""
    return {
        f"{path.relative_to(root).parts[1]}.{name}": path.parent
        for path in root.glob("services/**/tables.py")
        for name in _tables_in(ast.parse(path.read_text()))
    }


def _tables_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Table"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def trespasses(root: Path = ROOT) -> list[str]:
    """Where a room names a table of another room, or a table that nobody can tell the room of."""
    rooms = table_rooms(root)
    return [
        f"{path.relative_to(root).as_posix()}: {what}"
        for path in sorted(root.glob("services/**/*.py"))
        for what in _trespasses(ast.parse(path.read_text()), path.relative_to(root).parts[1], path.parent, rooms, root)
    ]


def _trespasses(tree: ast.Module, service: str, room: Path, rooms: dict[str, Path], root: Path) -> Iterator[str]:
    def is_inside(owner: Path) -> bool:
        return owner == room or owner in room.parents

    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                for named in re.findall(rf"(?<![\w.])({service}\.\w+)", text):
                    if named in rooms and not is_inside(rooms[named]):
                        yield named
                if re.search(rf"(?<![\w.]){service}\.\{{", text):
                    yield f"{service}.{{…}}"
            case ast.JoinedStr(values=values):
                for part, following in pairwise(values):
                    match part, following:
                        case ast.Constant(value=str(text)), ast.FormattedValue():
                            if re.search(rf"(?<![\w.]){service}\.$", text):
                                yield f"{service}.{{…}}"
            case ast.ImportFrom(module=str(module)) if module.startswith("services.") and module.endswith(".tables"):
                if not is_inside(root.joinpath(*module.split(".")[:-1])):
                    yield module


def test_no_room_names_the_tables_of_another() -> None:
    assert len(table_rooms()) > 40
    assert trespasses() == []


@pytest.mark.parametrize(
    "planted",
    [
        'READ = "SELECT * FROM tracking.deals"',
        'READ = f"SELECT {columns} FROM tracking.deals AS d"',
        'READ = f"SELECT * FROM tracking.{table}"',
        'READ = "SELECT * FROM tracking.{table}".format(table="deals")',
        "from services.tracking.records.tables import deals",
    ],
)
def test_a_planted_reading_of_another_room_is_seen(planted: str, tmp_path: Path) -> None:
    house = {
        "services/tracking/records/tables.py": 'deals = Table("deals", metadata)',
        "services/tracking/records/store/deals.py": 'READ = "SELECT * FROM tracking.deals"',
        "services/tracking/intake/inbox/tables.py": 'deliveries = Table("deliveries", metadata)',
        "services/tracking/intake/inbox/store.py": 'GROUP = "attain.tracking.deals"\nREAD = "FROM tracking.deliveries"',
    }
    for name, source in house.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    assert trespasses(tmp_path) == []
    (tmp_path / "services/tracking/intake/inbox/planted_store.py").write_text(planted)
    assert len(trespasses(tmp_path)) == 1


def test_the_walls_between_services_rooms_and_layers_stand() -> None:
    command = Path(sys.executable).parent / "lint-imports"
    outcome = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stdout


def test_a_wall_that_is_broken_is_seen(tmp_path: Path) -> None:
    """The rules of pyproject.toml are held against a small house in which every one of them is broken once."""
    planted = {
        "services/goals/targets/domain.py": "import sqlalchemy\nimport shared.contracts.base\n",
        "services/goals/targets/api.py": "import services.goals.targets.store\n",
        "services/goals/agreements/service.py": "",
        "services/goals/targets/store.py": "",
        "services/goals/targets/service.py": "import shared.http.app\n",
        "services/goals/targets/tables.py": "",
        "services/goals/planning/domain/plan.py": "",
        "services/goals/rates/service.py": "",
        "services/goals/calendar/service.py": "import services.goals.rates.service\n",
        "services/goals/evidence/service.py": "",
        "services/goals/jobs/service.py": "",
        "services/goals/files/service.py": "",
        "services/goals/moves/service.py": "",
        "services/goals/stated/service.py": "",
        "services/goals/smart/service.py": "",
        "services/goals/templates/service.py": "",
        "services/goals/org/service.py": "import services.goals.targets.service\n",
        "services/goals/org/store.py": "import services.tracking.records.service\n",
        "services/tracking/records/service.py": "import services.tracking.measure.progress.service\n",
        "services/tracking/records/domain/rules.py": "import asyncio\n",
        "services/tracking/definitions/service.py": "import holidays\n",
        "services/tracking/measure/actuals/service.py": "import services.tracking.measure.progress.service\n",
        "services/tracking/measure/progress/service.py": "",
        "services/tracking/intake/sources/adapter.py": "import httpx\nimport services.tracking.intake.calling.domain\n",
        "services/tracking/intake/calling/domain.py": "",
        "services/tracking/intake/connections/service.py": "",
        "services/tracking/intake/inbox/fetched.py": "",
        "services/tracking/intake/inbox/translation.py": "",
        "services/tracking/intake/sync/service.py": "",
        "services/tracking/intake/upkeep/service.py": "",
        "services/tracking/tell/alerts/service.py": "import services.tracking.intake.upkeep.service\n",
        "services/tracking/tell/channels/service.py": "",
        "services/tracking/tell/dead_letters/service.py": "import services.tracking.tell.channels.service\n",
        "services/tracking/tell/live/service.py": "import services.tracking.measure.progress.service\n",
        "services/incentives/plans/service.py": "import services.incentives.credits.service\n",
        "services/incentives/credits/service.py": "import deploy.local\n",
        "services/incentives/ledger/service.py": "import services.incentives.plans.service\n",
        "services/incentives/earnings/consumer.py": "",
        "services/incentives/earnings/schemas.py": "",
        "services/incentives/accruals/service.py": "",
        "services/incentives/inquiries/service.py": "",
        "services/incentives/payouts/service.py": "",
        "services/incentives/periods/service.py": "",
        "services/incentives/simulation/service.py": "",
        "services/incentives/statements/service.py": "",
        "shared/kernel/money.py": "import asyncio\nimport shared.db.database\n",
        "shared/contracts/base.py": "",
        "shared/db/database.py": "import services.goals.org.service\n",
        "shared/http/app.py": "",
        "shared/kafka/domain.py": "",
        "shared/outbox/domain.py": "",
        "shared/tables/cells.py": "import shared.http.app\n",
        "shared/telemetry/logs.py": "",
        "deploy/local.py": "",
        "migrations/goals.py": "",
    }
    for name, source in planted.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for folder in tmp_path.rglob("*"):
        if folder.is_dir():
            (folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = Path(sys.executable).parent / "lint-imports"
    outcome = subprocess.run([command, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    verdicts = [line for line in outcome.stdout.splitlines() if line.endswith((" KEPT", " BROKEN"))]
    assert outcome.returncode != 0
    assert verdicts
    assert [line for line in verdicts if line.endswith(" KEPT")] == [], outcome.stdout + outcome.stderr


@pytest.mark.parametrize("service", ["goals", "tracking", "incentives"])
def test_every_migration_follows_the_one_before(service: str) -> None:
    history = ScriptDirectory(str(ROOT / "migrations" / service))
    numbers = sorted(path.name[:4] for path in (ROOT / "migrations" / service / "versions").glob("0*.py"))
    assert [each.revision for each in history.walk_revisions()][::-1] == numbers
