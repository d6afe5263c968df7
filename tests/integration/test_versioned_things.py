"""Versioned things on real Postgres: changed from their current version alone, read in pages, chunks and tenants."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from services.goals.calendar.domain import Calendar, CalendarTerms, FirstDay
from services.goals.calendar.store import CALENDARS
from services.goals.metadata import transport
from services.goals.org.domain import (
    Identity,
    IdentityNotFound,
    Person,
    PersonNotFound,
    Place,
    Team,
)
from services.goals.org.events import person_event
from services.goals.org.store import IDENTITIES, PEOPLE, TEAMS
from services.goals.org.tables import people
from shared.contracts.envelope import from_record
from shared.db.database import Database, Scope
from shared.db.versioned import FIRST_KEY, Key
from shared.kernel.errors import AnyVersionOf, VersionMismatch
from shared.kernel.working_days import NationalDays, WorkRule
from shared.kernel.years import Weekday, Weeks, YearEnd, YearPattern
from shared.outbox.outbox import Outbox, decode_headers
from shared.outbox.published import Published, each
from shared.outbox.republishing import appending, republish, versions
from tests.servers.infrastructure import eventually

TERMS = CalendarTerms(1, "UTC", "USD")
JULY, AUGUST = date(2026, 7, 1), date(2026, 8, 2)


@pytest.fixture
async def database(fresh_database: str) -> AsyncIterator[Database]:
    opened = Database(fresh_database, service="goals")
    yield opened
    await opened.close()


def person(name: str = "Ada", version: int = 1) -> Person:
    return Person(uuid4(), version, name, None, active=True)


async def added(database: Database, tenant: UUID, *made: Person) -> None:
    async with database.transaction(Scope.of(tenant)) as tx:
        for each_person in made:
            await PEOPLE.add(tx, tenant, each_person)


async def stored(database: Database, tenant: UUID, person_id: UUID) -> Person:
    async with database.transaction(Scope.of(tenant)) as tx:
        return await PEOPLE.get(tx, tenant, person_id)


def renamed(one: Person, name: str) -> Person:
    return replace(one, name=name, version=one.version + 1)


async def test_a_thing_is_changed_from_its_current_version_only(database: Database) -> None:
    tenant, ada = uuid4(), person()
    await added(database, tenant, ada)
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await PEOPLE.for_change(tx, tenant, ada.id, 1) == ada
        changed = await PEOPLE.save(tx, tenant, renamed(ada, "Ada L."))
    for wrong in (1, 3, AnyVersionOf(frozenset({1, 3}))):
        async with database.transaction(Scope.of(tenant)) as tx:
            with pytest.raises(VersionMismatch):
                await PEOPLE.for_change(tx, tenant, ada.id, wrong)
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await PEOPLE.for_change(tx, tenant, ada.id, AnyVersionOf(None)) == changed
    assert await stored(database, tenant, ada.id) == changed


async def test_what_was_read_without_a_lock_is_not_stored_over_a_newer_version(database: Database) -> None:
    tenant, ada = uuid4(), person()
    await added(database, tenant, ada)
    async with database.transaction(Scope.of(tenant)) as tx:
        await PEOPLE.save(tx, tenant, renamed(ada, "First"))
    async with database.transaction(Scope.of(tenant)) as tx:
        with pytest.raises(VersionMismatch, match="The person was changed at the same time"):
            await PEOPLE.save(tx, tenant, renamed(ada, "Second"))
    assert (await stored(database, tenant, ada.id)).name == "First"


async def test_of_two_writers_at_once_the_second_waits_and_hears_that_it_lost(database: Database) -> None:
    tenant, ada = uuid4(), person()
    await added(database, tenant, ada)

    async def write_too() -> None:
        async with database.transaction(Scope.of(tenant)) as tx:
            await PEOPLE.for_change(tx, tenant, ada.id, 1)

    async with database.transaction(Scope.of(tenant)) as tx:
        current = await PEOPLE.for_change(tx, tenant, ada.id, 1)
        second = asyncio.create_task(write_too())
        await eventually(lambda: _waits_for_a_row(database), expectation="a writer that waits for the first")
        won = await PEOPLE.save(tx, tenant, renamed(current, "One"))
    with pytest.raises(VersionMismatch):
        await second
    assert await stored(database, tenant, ada.id) == won


async def test_pages_follow_a_cursor_and_neither_skip_nor_repeat_while_things_are_added(database: Database) -> None:
    tenant = uuid4()
    crowd = sorted((person(f"P{number}") for number in range(7)), key=lambda each_person: each_person.id)
    await added(database, tenant, *crowd)
    pages: list[list[Person]] = []
    for after in (None, 2, 5, 6):
        async with database.transaction(Scope.of(tenant)) as tx:
            pages.append(await PEOPLE.page(tx, tenant, None if after is None else crowd[after].id, 3))
        await added(database, tenant, replace(person("Late"), id=UUID(int=len(pages))))
    assert pages == [crowd[:3], crowd[3:6], crowd[6:], []]
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await PEOPLE.page(tx, tenant, None, 10, people.c.name == "P3") == [p for p in crowd if p.name == "P3"]


async def test_every_thing_comes_in_chunks_and_stays_as_it_was_said_to_be(database: Database) -> None:
    tenants = sorted([uuid4(), uuid4()])
    crowd = {(tenant, each_person.id): each_person for tenant in tenants for each_person in (person(), person())}
    for (tenant, _), each_person in crowd.items():
        await added(database, tenant, each_person)
    (first_tenant, first_id), changed = sorted(crowd)[0], asyncio.Event()

    async def change() -> None:
        async with database.transaction(Scope.of(first_tenant)) as tx:
            current = await PEOPLE.for_change(tx, first_tenant, first_id, 1)
            await PEOPLE.save(tx, first_tenant, renamed(current, "Later"))
        changed.set()

    found: list[tuple[Key, Person]] = []
    async with database.transaction(Scope.every()) as tx:
        found += await PEOPLE.every(tx, FIRST_KEY, 3)
        changing = asyncio.create_task(change())
        await eventually(lambda: _waits_for_a_row(database), expectation="a change that waits for the chunk")
        assert not changed.is_set()
    await asyncio.wait_for(changing, 10)
    async with database.transaction(Scope.every()) as tx:
        found += await PEOPLE.every(tx, found[-1][0], 3)
        assert await PEOPLE.every(tx, found[-1][0], 3) == []
    assert found == sorted(crowd.items(), key=lambda item: item[0])
    assert (await stored(database, first_tenant, first_id)).name == "Later"


async def _waits_for_a_row(database: Database) -> bool:
    async with database.transaction(Scope.every()) as tx:
        (row,) = await tx.rows(text("SELECT count(*) AS n FROM pg_locks WHERE NOT granted"))
    return bool(row["n"])


async def test_a_tenant_neither_sees_nor_changes_what_is_anothers(database: Database) -> None:
    tenant, other, ada = uuid4(), uuid4(), person()
    await added(database, tenant, ada)
    for scope, asked in ((Scope.of(other), other), (Scope.of(other), tenant), (Scope.of(tenant), other)):
        async with database.transaction(scope) as tx:
            assert await PEOPLE.find(tx, asked, ada.id) is None
            assert await PEOPLE.page(tx, asked, None, 10) == []
            assert await PEOPLE.matching(tx, asked) == []
            with pytest.raises(PersonNotFound):
                await PEOPLE.for_change(tx, asked, ada.id, 1)
            with pytest.raises(VersionMismatch):
                await PEOPLE.save(tx, asked, renamed(ada, "Taken"))
    async with database.transaction(Scope.of(other)) as tx:
        assert await PEOPLE.every(tx, FIRST_KEY, 10) == []
    assert await stored(database, tenant, ada.id) == ada


async def test_what_does_not_meet_a_condition_is_not_there(database: Database) -> None:
    tenant, ada = uuid4(), person()
    await added(database, tenant, ada)
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await PEOPLE.get(tx, tenant, ada.id, people.c.active) == ada
        with pytest.raises(PersonNotFound, match=f"There is no person {ada.id}"):
            await PEOPLE.get(tx, tenant, ada.id, ~people.c.active)


async def test_a_deleted_thing_is_republished_and_otherwise_not_there(database: Database) -> None:
    tenant, ada = uuid4(), person()
    await added(database, tenant, ada)
    identity = Identity(uuid4(), 1, "pipedrive", "7", ada.id)
    deleted = replace(identity, version=2, deleted=True)
    async with database.transaction(Scope.of(tenant)) as tx:
        await IDENTITIES.add(tx, tenant, identity)
        await IDENTITIES.save(tx, tenant, deleted)
        assert await IDENTITIES.find(tx, tenant, identity.id) is None
        assert await IDENTITIES.page(tx, tenant, None, 10) == []
        assert await IDENTITIES.matching(tx, tenant) == []
        with pytest.raises(IdentityNotFound):
            await IDENTITIES.for_change(tx, tenant, identity.id, 2)
        with pytest.raises(VersionMismatch):
            await IDENTITIES.save(tx, tenant, replace(identity, version=3))
        assert await IDENTITIES.every(tx, FIRST_KEY, 10) == [((tenant, identity.id), deleted)]


async def test_what_stands_in_other_tables_is_stored_and_read_with_its_thing(database: Database) -> None:
    tenant = uuid4()
    weeks = Weeks(Weekday.SUNDAY, YearPattern.WEEKS_5_4_4, YearEnd.LAST)
    work = WorkRule("DE", "BY", frozenset({date(2026, 6, 1)}), frozenset({date(2026, 6, 6), date(2026, 6, 7)}))
    known = NationalDays(
        date(2020, 1, 1), date(2030, 1, 1), date(2027, 1, 1), frozenset({Weekday.FRIDAY}), *[frozenset({JULY})] * 3
    )
    retail = CalendarTerms(8, "Asia/Tokyo", "JPY", weeks, work)
    calendar = Calendar(1, TERMS, national={("DE", "BY"): known, ("CN", None): known})
    team = Team(uuid4(), 1, "Sales", Place(None, None), ((date(2026, 1, 1), Place(None, None)),))
    async with database.transaction(Scope.of(tenant)) as tx:
        await CALENDARS.add(tx, tenant, calendar)
        moved = calendar.with_terms(JULY, replace(TERMS, currency="EUR", work=work), tx.now)
        moved = replace(moved, always=replace(TERMS, work=work), changes=(*moved.changes, (AUGUST, retail)))
        await CALENDARS.save(tx, tenant, moved)
        await TEAMS.add(tx, tenant, team)
        restated = replace(team, version=2, changes=())
        await TEAMS.save(tx, tenant, restated)
    async with database.transaction(Scope.every()) as tx:
        assert await CALENDARS.get(tx, tenant, tenant) == moved
        assert await CALENDARS.every(tx, FIRST_KEY, 1) == [((tenant, tenant), moved)]
        assert await CALENDARS.every(tx, (tenant, tenant), 1) == []
        assert await TEAMS.get(tx, tenant, team.id) == restated
        with pytest.raises(VersionMismatch):
            await CALENDARS.save(tx, tenant, calendar.with_terms(FirstDay.BEGINNING, TERMS, tx.now))


async def test_many_things_are_stored_and_changed_at_once_as_one_is(database: Database) -> None:
    tenant, other = uuid4(), uuid4()
    names = ['"', "\\", "a,b", "{}", "NULL", "null", "\n\t", "𠮷", "'; --", " "]
    crowd = [replace(person(name), email=f"P{number}@Example.com") for number, name in enumerate(names)]
    crowd += [replace(person(f"P{number}"), employee_number=f"00{number}") for number in range(1000)]
    teams = [
        Team(uuid4(), 1, f"T{number}", Place(None, crowd[0].id), ((date(2026, 1, 1 + number), Place(None, None)),))
        for number in range(3)
    ]
    await added(database, other, crowd[0])
    async with database.transaction(Scope.of(tenant)) as tx:
        await PEOPLE.add_many(tx, tenant, crowd)
        await TEAMS.add_many(tx, tenant, teams)
        await PEOPLE.add_many(tx, tenant, [])
    assert {each_person.id: each_person for each_person in await matching(database, tenant)} == {
        each_person.id: each_person for each_person in crowd
    }
    async with database.transaction(Scope.of(tenant)) as tx:
        locked = await PEOPLE.locked_many(tx, tenant, [*(each_person.id for each_person in crowd[:5]), uuid4()])
        assert locked == {each_person.id: each_person for each_person in crowd[:5]}
        await PEOPLE.save_many(tx, tenant, [renamed(each_person, f"{each_person.name}!") for each_person in crowd[:5]])
        restated = [replace(team, version=2, changes=team.changes[: number % 2]) for number, team in enumerate(teams)]
        await TEAMS.save_many(tx, tenant, restated)
    found = {each_person.id: each_person for each_person in await matching(database, tenant)}
    assert [found[each_person.id].name for each_person in crowd[:6]] == [*(f"{name}!" for name in names[:5]), names[5]]
    assert (await stored(database, other, crowd[0].id)) == crowd[0]
    async with database.transaction(Scope.of(tenant)) as tx:
        assert await TEAMS.matching(tx, tenant) == sorted(restated, key=lambda team: team.id)


@pytest.mark.parametrize("one_of_them", ["stale", "unknown", "of another tenant"])
async def test_of_many_changes_none_is_stored_where_one_was_made_from_another_version(
    database: Database, one_of_them: str
) -> None:
    tenant, other = uuid4(), uuid4()
    crowd, stranger = [person(f"P{number}") for number in range(3)], person("Stranger")
    await added(database, tenant, *crowd)
    await added(database, other, stranger)
    refused = {"stale": replace(crowd[2], version=3), "unknown": person("New", 2)}.get(one_of_them, stranger)
    with pytest.raises(VersionMismatch, match="The person was changed at the same time"):
        async with database.transaction(Scope.of(tenant)) as tx:
            await PEOPLE.save_many(tx, tenant, [renamed(crowd[0], "A"), renamed(crowd[1], "B"), refused])
    assert {each_person.name for each_person in await matching(database, tenant)} == {"P0", "P1", "P2"}


async def matching(database: Database, tenant: UUID) -> list[Person]:
    async with database.transaction(Scope.of(tenant)) as tx:
        return await PEOPLE.matching(tx, tenant)


async def test_everything_is_published_again_while_it_changes_and_no_older_version_comes_last(
    database: Database,
) -> None:
    tenant = uuid4()
    outbox = Outbox(transport)
    published = Published(PEOPLE, each(person_event), outbox)
    crowd = [person(f"P{number}") for number in range(1100)]
    await added(database, tenant, *crowd)

    async def change(of: Person) -> None:
        async with database.transaction(Scope.of(tenant)) as tx:
            await published.save(tx, tenant, renamed(await published.for_change(tx, tenant, of.id, of.version), "New"))

    count, *_ = await asyncio.gather(
        republish(database, outbox, [appending(published.read_next)]),
        *(change(each_person) for each_person in crowd[::50]),
    )
    assert count == len(crowd)
    last = await _last_published(database, tenant)
    stands: dict[tuple[UUID, str], int] = {}
    async for chunk in versions(database, [published.read_next]):
        assert not stands.keys() & chunk.keys()
        stands |= chunk
    assert last == {subject: version for (_, subject), version in stands.items()}
    assert len(last) == len(crowd)
    assert sorted(last.values())[-len(crowd[::50]) :] == [2] * len(crowd[::50])


async def _last_published(database: Database, tenant: UUID) -> dict[str, int]:
    async with database.transaction(Scope.every()) as tx:
        rows = await tx.rows(
            text("SELECT headers, value FROM goals.outbox WHERE tenant_id = :tenant ORDER BY id"), {"tenant": tenant}
        )
    events = (from_record(dict(decode_headers(row["headers"])), row["value"]) for row in rows)
    return {event.subject: event.model_dump()["version"] for event in events if event is not None}
