"""One real example of every event, used by the documentation and checked against the schemas by the contract tests."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from shared.contracts import activities, actuals, alerts, deals, earnings, goals, org, progress
from shared.contracts.base import Event
from shared.kernel.activities import ActivityStatus, ActivityType
from shared.kernel.alerts import AlertKind, AlertSeverity, AlertState
from shared.kernel.deals import DateField, DealKind, DealStatus
from shared.kernel.ids import activity_id, alert_id, deal_id
from shared.kernel.measures import Aggregate

_TENANT = UUID("01935a00-0000-7000-8000-000000000001")
_PERSON = UUID("01935a00-0000-7000-8000-000000000011")
_MANAGER = UUID("01935a00-0000-7000-8000-000000000012")
_TEAM = UUID("01935a00-0000-7000-8000-000000000021")
_COMPANY = UUID("01935a00-0000-7000-8000-000000000022")
_GOAL = UUID("01935a00-0000-7000-8000-000000000031")
_TEAM_GOAL = UUID("01935a00-0000-7000-8000-000000000032")
_STATED_VALUE = UUID("01935a00-0000-7000-8000-000000000033")
_CONNECTION = UUID("01935a00-0000-7000-8000-000000000041")
_DELIVERY = UUID("01935a00-0000-7000-8000-000000000051")
_CELL = UUID("01935a00-0000-7000-8000-000000000061")
_ASSIGNMENT = UUID("01935a00-0000-7000-8000-000000000062")
_PLAN = UUID("01935a00-0000-7000-8000-000000000063")
_INQUIRY = UUID("01935a00-0000-7000-8000-000000000081")
_RUN = UUID("01935a00-0000-7000-8000-000000000091")
_PAYOUT = UUID("01935a00-0000-7000-8000-000000000092")
_NOW = datetime(2026, 3, 31, 18, 40, 3, 120000, tzinfo=UTC)
_WON = datetime(2026, 3, 31, 18, 40, 2, tzinfo=UTC)
_QUARTER = (date(2026, 1, 1), date(2026, 4, 1))

_EXAMPLES: tuple[Event, ...] = (
    org.Calendar(tenant_id=_TENANT, version=1, start_month=4, time_zone="Asia/Shanghai", currency="CNY"),
    org.Person(
        tenant_id=_TENANT, id=_PERSON, version=2, name="Darcel Schlecht", email="darcel@example.com", active=True
    ),
    org.Team(tenant_id=_TENANT, id=_TEAM, version=1, name="Central", parent_id=_COMPANY, manager_id=_MANAGER),
    org.Membership(
        tenant_id=_TENANT,
        id=UUID("01935a00-0000-7000-8000-000000000071"),
        version=1,
        person_id=_PERSON,
        team_id=_TEAM,
        start=date(2026, 1, 1),
        end=None,
        deleted=False,
    ),
    org.Identity(
        tenant_id=_TENANT,
        id=UUID("01935a00-0000-7000-8000-000000000072"),
        version=1,
        source="pipedrive",
        external_user_id="12345678",
        person_id=_PERSON,
        deleted=False,
    ),
    org.ExchangeRates(
        tenant_id=_TENANT,
        version=3,
        base_currency="CNY",
        currency="USD",
        month="2026-03",
        rates=(
            org.DatedRate(date=date(2026, 3, 2), rate=Decimal("7.2415")),
            org.DatedRate(date=date(2026, 3, 3), rate=Decimal("7.2398")),
        ),
    ),
    goals.Goal(
        tenant_id=_TENANT,
        id=_GOAL,
        version=3,
        revision=2,
        status=goals.GoalStatus.ACTIVE,
        name="Darcel's bookings, Q1",
        owner=goals.Subject(kind="person", id=_PERSON),
        metric=goals.Metric(
            aggregate=Aggregate.SUM,
            value_field="amount",
            date_field=DateField.CLOSED,
            filter={"all": [{"field": "status", "op": "eq", "value": "won"}]},
            currency="USD",
        ),
        target=Decimal(250000),
        baseline=Decimal(0),
        unit="USD",
        direction=goals.Direction.HIGHER,
        start=_QUARTER[0],
        end=_QUARTER[1],
        parent_id=_TEAM_GOAL,
        weight=Decimal(1),
    ),
    goals.StatedValue(
        tenant_id=_TENANT,
        id=_STATED_VALUE,
        version=2,
        goal_id=_GOAL,
        day=date(2026, 2, 28),
        value=Decimal("8.4"),
        source=goals.ValueSource.FILE,
        note="Customer survey, February",
        stated_by=_PERSON,
        stated_at=_NOW,
        deleted=False,
    ),
    deals.Deal(
        tenant_id=_TENANT,
        id=deal_id(_CONNECTION, "746"),
        connection_id=_CONNECTION,
        source="pipedrive",
        external_id="746",
        kind=DealKind.UPSERTED,
        modified_at=_WON,
        sequence=0,
        delivery_id=_DELIVERY,
        received_at=_NOW,
        status=DealStatus.WON,
        owner_external_id="12345678",
        name="Acme",
        amount=Decimal(60000),
        currency="USD",
        created_at=datetime(2026, 1, 5, 9, 12, 44, tzinfo=UTC),
        expected_close_on=date(2026, 3, 31),
        closed_at=_WON,
        closed_on=None,
        stage="5",
        pipeline="1",
        probability=None,
        type="new",
        channel="Partner",
        region=None,
        account_id="2",
        account_name="Acme",
        merged_into=None,
        splits=(
            deals.Split(owner_external_id="12345678", role="owner", percent=Decimal(60)),
            deals.Split(owner_external_id="12345679", role="engineer", percent=Decimal(40)),
        ),
        products=(deals.Product(sku="GTX-PRO", quantity=Decimal(12), amount=Decimal(60000)),),
        custom={"competitor": "Initech"},
        home_amount=Decimal(414000),
        home_currency="CNY",
        payments=(deals.Payment(paid_on=date(2026, 4, 10), amount=Decimal(30000)),),
        invoices=(deals.Invoice(invoiced_on=date(2026, 4, 1), amount=Decimal(60000)),),
    ),
    activities.Activity(
        tenant_id=_TENANT,
        id=activity_id(_CONNECTION, "9031"),
        connection_id=_CONNECTION,
        source="pipedrive",
        external_id="9031",
        is_deleted=False,
        modified_at=datetime(2026, 3, 12, 9, 41, 30, tzinfo=UTC),
        sequence=0,
        delivery_id=_DELIVERY,
        received_at=_NOW,
        type=ActivityType.CALL,
        status=ActivityStatus.DONE,
        owner_external_id="12345678",
        subject="Renewal terms",
        occurred_at=datetime(2026, 3, 12, 9, 30, tzinfo=UTC),
        duration_seconds=660,
        outcome="Connected",
        deal_external_id="746",
        account_id="2",
        custom={"direction": "outbound"},
    ),
    progress.Progress(
        tenant_id=_TENANT,
        goal_id=_GOAL,
        version=412,
        goal_version=3,
        status=goals.GoalStatus.ACTIVE,
        name="Darcel's bookings, Q1",
        owner=goals.Subject(kind="person", id=_PERSON),
        value=Decimal("187320.5"),
        target=Decimal(250000),
        baseline=Decimal(0),
        attainment=Decimal("0.749282"),
        direction=goals.Direction.HIGHER,
        unit="USD",
        currency="USD",
        start=_QUARTER[0],
        end=_QUARTER[1],
        deals=41,
        changed_at=_NOW,
        received_at=_NOW,
    ),
    actuals.Actuals(
        tenant_id=_TENANT,
        person_id=_PERSON,
        month="2026-03",
        version=48,
        currency="CNY",
        won_value=Decimal("434388.00"),
        won_number=Decimal("1.5"),
        open_value=Decimal("96000"),
        open_number=Decimal(2),
        unconverted=Decimal(0),
        changed_at=_NOW,
    ),
    alerts.Alert(
        tenant_id=_TENANT,
        id=alert_id(_CONNECTION, AlertKind.CONNECTION_HEALTH, "signatures"),
        version=1,
        kind=AlertKind.CONNECTION_HEALTH,
        state=AlertState.RAISED,
        severity=AlertSeverity.BROKEN,
        subject_type="connection",
        subject_id=_CONNECTION,
        check="signatures",
        title="Pipedrive",
        sentence="12 deliveries of the last 24 hours were refused, and none accepted, as they were not signed with a "
        "valid secret. Enter the secret of this connection in the CRM, or rotate it and enter the new one.",
        raised_at=_NOW,
        changed_at=_NOW,
        cleared_at=None,
    ),
    earnings.Earning(
        tenant_id=_TENANT,
        id=_CELL,
        version=17,
        person_id=_PERSON,
        assignment_id=_ASSIGNMENT,
        plan_id=_PLAN,
        plan_version=1,
        component="bookings",
        start=_QUARTER[0],
        end=_QUARTER[1],
        measure=Decimal("187320.5"),
        quota=Decimal(250000),
        attainment=Decimal("0.749282"),
        earned=Decimal("9366.03"),
        posted=Decimal("-1250.00"),
        currency="USD",
        credits=41,
        changed_at=_NOW,
    ),
    earnings.Inquiry(
        tenant_id=_TENANT,
        id=_INQUIRY,
        version=2,
        person_id=_PERSON,
        earning_id=_CELL,
        deal_id=deal_id(_CONNECTION, "4711"),
        reason="missing_deal",
        status="in_progress",
        assignee_id=_MANAGER,
        outcome=None,
        raised_at=_NOW,
        due_on=date(2026, 4, 22),
        overdue_since=None,
    ),
    earnings.PayPeriod(
        tenant_id=_TENANT,
        version=3,
        start=date(2026, 3, 1),
        end=date(2026, 4, 1),
        state="approved",
        cut_off_at=datetime(2026, 4, 3, 9, 30, tzinfo=UTC),
    ),
    earnings.Payout(
        tenant_id=_TENANT,
        id=_PAYOUT,
        version=1,
        run_id=_RUN,
        run_number=3,
        reverses_run_id=None,
        person_id=_PERSON,
        plan_id=_PLAN,
        start=date(2026, 3, 1),
        end=date(2026, 4, 1),
        amount=Decimal("9366.03"),
        currency="USD",
    ),
)

EXAMPLES: Mapping[str, Event] = {example.event_type: example for example in _EXAMPLES}
