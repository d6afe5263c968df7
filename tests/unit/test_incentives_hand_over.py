"""Whose a deal is that changes hands: the owner's change, a leaver's open deals, house accounts; and why, in words."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.credits.domain.credit import CellKey, OwnerSince
from services.incentives.credits.domain.definitions import Definitions
from services.incentives.plans.domain.assignments import Assignment
from services.incentives.plans.domain.crediting import CreditedOwner, CreditingRules, Inheritor, LeaverRule
from services.incentives.plans.domain.kinds.commission import Commission
from services.incentives.plans.domain.rates import FlatRate
from services.incentives.plans.domain.rules import PeriodRules
from services.incentives.plans.domain.versions import Plan, PlanVersion, VersionStatus
from shared.kernel.deals import DateField, DealFacts, DealKind, DealStatus, RecordVersion, Split
from shared.kernel.errors import InvalidInput
from shared.kernel.layers import Layered
from shared.kernel.measures import Aggregate, Crediting, Measure
from shared.kernel.org import CrmUser, MembershipFact, OrgChart, TeamNode
from shared.kernel.periods import DatedRange, Period, PeriodKind

SPACE = UUID(int=3)
QUARTER = Period(date(2026, 1, 1), date(2026, 4, 1))
LEFT = date(2026, 2, 1)
"""Ann's assignment ends on the day before."""


def named(name: str) -> UUID:
    return uuid5(SPACE, name)


BOOKINGS = Measure(Aggregate.SUM, "amount", DateField.CLOSED, currency="USD")
ROLLUP = replace(BOOKINGS, crediting=Crediting.ROLLUP)


def company(
    rules: CreditingRules,
    crediting: Crediting = Crediting.OWNER,
    left: date | None = LEFT,
    role: str | None = None,
    of_managers: Measure = ROLLUP,
) -> Definitions:
    """Ann, who leaves, and Bob are on one plan, Max, who manages both, on another; Hal is the house."""
    measure = replace(BOOKINGS, crediting=crediting, role=role)
    plans = {name: Plan(named(name), name, "USD", PeriodKind.QUARTER) for name in ("reps", "managers")}
    versions = {
        named(name): [
            PlanVersion(
                named(name),
                1,
                VersionStatus.ACTIVE,
                date(2025, 1, 1),
                (Commission("bookings", "Bookings", each, FlatRate(Decimal("0.1"))),),
                None,
                None,
                rules=PeriodRules(crediting=rules),
            )
        ]
        for name, each in (("reps", measure), ("managers", of_managers))
    }
    assignments = [
        Assignment(named("ann's"), named("ann"), named("reps"), DatedRange(date(2025, 1, 1), left)),
        Assignment(named("bob's"), named("bob"), named("reps"), DatedRange(date(2025, 1, 1))),
        Assignment(named("max's"), named("max"), named("managers"), DatedRange(date(2025, 1, 1))),
    ]
    team = named("team")
    chart = OrgChart(
        teams={team: TeamNode(team, None, named("max"))},
        memberships=[
            MembershipFact(named(name), team, DatedRange(date(2025, 1, 1), end))
            for name, end in (("ann", left), ("bob", None), ("hal", None))
        ],
        identities={CrmUser("crm", name): named(name) for name in ("ann", "bob", "hal", "max")},
    )
    return Definitions(
        chart, Layered(), {p.id: p for p in plans.values()}, versions, {each.id: each for each in assignments}
    )


def deal(owner: str, day: date, created: date = date(2026, 1, 10), **facts: object) -> DealFacts:
    version = RecordVersion(datetime(2026, 3, 1, tzinfo=UTC), 0, UUID(int=1))
    return DealFacts(
        named("deal"),
        "crm",
        "1",
        version,
        DealKind.UPSERTED,
        DealStatus.WON,
        owner_external_id=owner,
        amount=Decimal(100),
        currency="USD",
        created_at=datetime(created.year, created.month, created.day, tzinfo=UTC),
        closed_on=day,
        **facts,  # type: ignore[arg-type]
    )


HANDED = (
    OwnerSince(datetime(2026, 1, 10, tzinfo=UTC), "ann"),
    OwnerSince(datetime(2026, 2, 10, 12, tzinfo=UTC), "bob"),
)
"""Bob has Ann's deal from the tenth of February on."""


def credited(known: Definitions, facts: DealFacts, owners: tuple[OwnerSince, ...] = HANDED) -> set[str]:
    names = {named(name): name for name in ("ann's", "bob's", "max's")}
    return {names[credit.assignment_id] for credit in known.credits(facts, owners)}


def why(known: Definitions, facts: DealFacts, whose: str, owners: tuple[OwnerSince, ...] = HANDED) -> str | None:
    assignment = known.assignments[named(whose)]
    found = known.why(facts, assignment, "bookings", QUARTER, owners)
    reason = known.reason(facts, CellKey(assignment.id, "bookings", QUARTER), found)
    if reason is None:
        return None
    assert reason.code not in (reason.sentence.en, reason.sentence.zh)
    assert reason.sentence.en != reason.sentence.zh
    return str(reason.code)


def test_the_owner_now_is_credited_and_by_the_other_policy_whoever_owned_the_deal_on_its_day() -> None:
    now, on_day = company(CreditingRules(), left=None), company(CreditingRules(CreditedOwner.ON_DAY), left=None)
    for day, then in ((date(2026, 1, 5), "ann's"), (date(2026, 2, 9), "ann's"), (date(2026, 2, 10), "bob's")):
        assert credited(now, deal("bob", day)) == {"bob's", "max's"}
        assert credited(on_day, deal("bob", day)) == {then, "max's"}
    assert why(on_day, deal("bob", date(2026, 2, 9)), "ann's") is None
    assert why(on_day, deal("bob", date(2026, 2, 9)), "bob's") == "owned_by_another_on_day"
    assert why(on_day, deal("bob", date(2026, 2, 10)), "ann's") == "not_owner"
    assert credited(on_day, deal("bob", date(2026, 1, 5)), ()) == {"bob's", "max's"}
    assert (now.asks_for_owners, on_day.asks_for_owners) == (False, True)


def test_a_leaver_is_paid_for_open_deals_for_so_many_days_and_then_the_new_owner() -> None:
    known = company(CreditingRules(leaver=LeaverRule(Inheritor.LEAVER, 30)))
    for day in (date(2026, 2, 1), date(2026, 3, 2)):
        assert credited(known, deal("bob", day)) == {"ann's"}
        assert why(known, deal("bob", day), "ann's") is None
        assert why(known, deal("bob", day), "bob's") == "leavers_deal"
    # 30 days after the last one are over.
    assert credited(known, deal("bob", date(2026, 3, 3))) == {"bob's", "max's"}
    assert why(known, deal("bob", date(2026, 3, 3)), "ann's") == "not_owner"
    # Before the end it is whoever owns it now.
    assert credited(known, deal("bob", date(2026, 1, 31))) == {"bob's", "max's"}
    # Nobody took it over; it was made after; Bob had it on Ann's last day already; Ann stayed.
    assert credited(known, deal("ann", date(2026, 2, 5)), ()) == {"ann's"}
    assert credited(known, deal("bob", date(2026, 2, 5), created=LEFT)) == {"bob's", "max's"}
    early = (HANDED[0], OwnerSince(datetime(2026, 1, 31, 23, tzinfo=UTC), "bob"))
    assert credited(known, deal("bob", date(2026, 2, 5)), early) == {"bob's", "max's"}
    assert credited(company(CreditingRules(leaver=LeaverRule(Inheritor.LEAVER, 30)), left=None), deal("bob", LEFT)) == {
        "bob's",
        "max's",
    }


def test_a_leaver_s_share_of_a_split_goes_on_for_so_many_days() -> None:
    splits = (Split("ann", Decimal(60), "owner"), Split("bob", Decimal(40), "overlay"))
    known = company(CreditingRules(leaver=LeaverRule(Inheritor.LEAVER, 30)), Crediting.SPLIT)
    assert credited(known, deal("bob", date(2026, 3, 2), splits=splits)) == {"ann's", "bob's", "max's"}
    assert credited(known, deal("bob", date(2026, 3, 3), splits=splits)) == {"bob's", "max's"}
    assert why(known, deal("bob", date(2026, 3, 3), splits=splits), "ann's") == "no_assignment"


def test_whoever_is_not_on_the_plan_any_more_is_not_paid_and_the_new_owner_is() -> None:
    known = company(CreditingRules())
    assert credited(known, deal("bob", date(2026, 2, 5))) == {"bob's", "max's"}
    assert credited(known, deal("ann", date(2026, 2, 5)), ()) == set()
    assert why(known, deal("ann", date(2026, 2, 5)), "ann's", ()) == "no_assignment"


def test_a_leaver_s_open_deals_may_be_the_house_s_for_good_or_for_a_while() -> None:
    for days, last in ((None, date(2026, 3, 31)), (30, date(2026, 3, 2))):
        known = company(CreditingRules(leaver=LeaverRule(Inheritor.HOUSE, days)))
        assert credited(known, deal("bob", last)) == set()
        for whose in ("bob's", "max's"):
            assert why(known, deal("bob", last), whose) == "house_account"
    assert credited(known, deal("bob", date(2026, 3, 3))) == {"bob's", "max's"}


def test_nobody_is_paid_on_a_house_account_not_even_who_manages_it() -> None:
    plain, house = company(CreditingRules()), company(CreditingRules(house_accounts=(named("hal"),)))
    assert credited(plain, deal("hal", date(2026, 2, 5)), ()) == {"max's"}
    assert credited(house, deal("hal", date(2026, 2, 5)), ()) == set()
    assert why(house, deal("hal", date(2026, 2, 5)), "max's", ()) == "house_account"
    assert why(house, deal("hal", date(2026, 2, 5)), "bob's", ()) == "not_owner"


def test_overlay_credit_takes_nothing_from_the_direct_shares_which_total_the_whole() -> None:
    splits = (
        Split("ann", Decimal(70), "owner"),
        Split("bob", Decimal(30), "owner"),
        Split("max", Decimal(50), "overlay"),
        Split("bob", Decimal(50), "overlay"),
    )
    overlay = replace(BOOKINGS, crediting=Crediting.SPLIT, role="overlay")
    known = company(CreditingRules(), Crediting.SPLIT, left=None, role="owner", of_managers=overlay)
    values = {c.assignment_id: c.value for c in known.credits(deal("ann", date(2026, 2, 5), splits=splits))}
    assert [values[named(whose)] for whose in ("ann's", "bob's", "max's")] == [Decimal(70), Decimal(30), Decimal(50)]


def test_a_rule_about_leavers_that_cannot_be_is_refused_with_its_place() -> None:
    for pays, days in ((Inheritor.LEAVER, None), (Inheritor.NEW_OWNER, 5), (Inheritor.HOUSE, 0)):
        with pytest.raises(InvalidInput) as refused:
            LeaverRule(pays, days)
        assert refused.value.fields[0].pointer == "/days"


DAYS = st.integers(0, 85).map(lambda number: date(2026, 1, 1) + timedelta(number))
PAYS = st.one_of(
    st.just(LeaverRule()),
    st.integers(1, 60).map(lambda days: LeaverRule(Inheritor.LEAVER, days)),
    st.one_of(st.none(), st.integers(1, 60)).map(lambda days: LeaverRule(Inheritor.HOUSE, days)),
)


@settings(max_examples=300)
@given(
    history=st.dictionaries(DAYS, st.sampled_from(["ann", "bob", "hal"]), min_size=1, max_size=4),
    day=DAYS,
    created=DAYS,
    left=st.one_of(st.none(), DAYS.map(lambda day: day + timedelta(1))),
    on_day=st.booleans(),
    leaver=PAYS,
    has_house=st.booleans(),
)
def test_any_history_of_owners_is_credited_as_the_rules_say(
    history: dict[date, str],
    day: date,
    created: date,
    left: date | None,
    on_day: bool,
    leaver: LeaverRule,
    has_house: bool,
) -> None:
    owner_rule = CreditedOwner.ON_DAY if on_day else CreditedOwner.NOW
    house = (named("hal"),) if has_house else ()
    known = company(CreditingRules(owner_rule, leaver, house), left=left)
    owners = tuple(
        OwnerSince(datetime(each.year, each.month, each.day, 12, tzinfo=UTC), history[each]) for each in sorted(history)
    )
    latest = history[max(history)]

    def owned_by(end_of: date) -> str:
        return history[max((each for each in history if each <= end_of), default=min(history))]

    someone: str | None = owned_by(day) if on_day else latest
    if left is not None and left <= day and created < left and owned_by(left - timedelta(1)) == "ann":
        within = leaver.days is None or day < left + timedelta(leaver.days)
        if leaver.pays is Inheritor.LEAVER and within:
            someone = "ann"
        elif leaver.pays is Inheritor.HOUSE and within:
            someone = None
        # Whoever left is paid for nothing else: see below.
    if has_house and someone == "hal":
        someone = None
    expected = set()
    gone = left is not None and day >= left
    keeps = leaver.pays is Inheritor.LEAVER and left is not None and created < left
    still = gone and keeps and left is not None and leaver.days is not None and day < left + timedelta(leaver.days)
    if someone == "ann":
        expected = {"ann's"} if not gone or still else set()
        expected |= set() if gone else {"max's"}
    elif someone is not None:
        expected = {"max's"} | ({"bob's"} if someone == "bob" else set())
    facts = deal(latest, day, created)
    assert credited(known, facts, owners) == expected
    for whose in ("ann's", "bob's", "max's"):
        assert (why(known, facts, whose, owners) is None) == (whose in expected)
