"""The organisation over HTTP."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from services.goals.calendar.service import Calendars
from services.goals.org.domain import (
    EmailTaken,
    EmployeeNumberTaken,
    IdentityFilter,
    IdentityNotFound,
    IdentityTaken,
    MembershipFilter,
    MembershipNotFound,
    MembershipOverlaps,
    PersonFilter,
    PersonNotFound,
    Team,
    TeamCircle,
    TeamFilter,
    TeamNotFound,
    UnknownPerson,
    UnknownTeam,
    identity_deleted,
    identity_of,
    membership_deleted,
)
from services.goals.org.schemas import (
    EmployeeNumber,
    IdentitiesAnswer,
    IdentitiesBody,
    IdentityAnswer,
    IdentityBody,
    IdentityChanges,
    MembershipAnswer,
    MembershipBody,
    MembershipChanges,
    MembershipsAnswer,
    MembershipsBody,
    PeopleAnswer,
    PeopleBody,
    PersonAnswer,
    PersonBody,
    PersonChanges,
    TeamAnswer,
    TeamBody,
    TeamChanges,
    TeamsAnswer,
    TeamsBody,
    membership_changed,
    person_changed,
    team_changed,
)
from services.goals.org.service import Organisation
from shared.contracts.texts import Line
from shared.db.database import Transaction
from shared.http.audit import AuditedWriter
from shared.http.etag import Answered, ConditionalRead, ExpectedVersion
from shared.http.paging import Cursor, Page, Paging
from shared.http.problems import PreconditionRequired, responses
from shared.http.sight import CurrentCaller, Editor
from shared.http.wiring import handed
from shared.kernel.errors import ItemsRefused, Refusals, VersionMismatch
from shared.kernel.periods import DatedRange
from shared.outbox.published import Change

router = APIRouter(prefix="/v1")

UseCases = Annotated[Organisation, Depends(handed(Organisation))]
Days = Annotated[Calendars, Depends(handed(Calendars))]
_IDS: Final = Cursor(UUID)
_CHANGE: Final = (VersionMismatch, PreconditionRequired)


@router.get("/people", tags=["people"], summary="List people")
async def list_people(
    caller: CurrentCaller,
    org: UseCases,
    paging: Paging,
    active: Annotated[bool | None, Query(description="Only active people, or only inactive ones.")] = None,
    email: Annotated[Line | None, Query(description="Who has this address, in whatever case of letters.")] = None,
    employee_number: Annotated[EmployeeNumber | None, Query(description="Who has this number.")] = None,
) -> Page[PersonAnswer]:
    """A rep sees itself, a manager whoever is in its subtree today."""
    async with caller.reading() as (tx, sight):
        found = await org.list_people(
            tx,
            caller.tenant_id,
            sight,
            PersonFilter(active, email, employee_number),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda person: person.id, item=PersonAnswer.of)


@router.post(
    "/people",
    tags=["people"],
    summary="Add a person",
    status_code=201,
    responses=responses(EmailTaken, EmployeeNumberTaken),
)
async def create_person(
    body: PersonBody, editor: Editor, org: UseCases, writer: AuditedWriter
) -> Answered[PersonAnswer]:
    return await writer.commit(
        lambda tx: org.create_person(
            tx, editor.tenant_id, name=body.name, email=body.email, employee_number=body.employee_number
        ),
        PersonAnswer.of,
        status=201,
        location=lambda person: f"/v1/people/{person.id}",
    )


@router.get("/people/{person_id}", tags=["people"], summary="A person", responses=responses(PersonNotFound))
async def get_person(
    person_id: UUID, caller: CurrentCaller, org: UseCases, read: ConditionalRead
) -> Answered[PersonAnswer]:
    async with caller.reading() as (tx, sight):
        answer = PersonAnswer.of(await org.get_person(tx, caller.tenant_id, person_id, sight))
    return read.answer(answer)


@router.patch(
    "/people/{person_id}",
    tags=["people"],
    summary="Change a person",
    responses=responses(PersonNotFound, EmailTaken, EmployeeNumberTaken, *_CHANGE),
)
async def change_person(
    person_id: UUID,
    body: PersonChanges,
    editor: Editor,
    org: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[PersonAnswer]:
    return await writer.commit(
        lambda tx: org.change_person(tx, editor.tenant_id, person_id, expected, person_changed(body)), PersonAnswer.of
    )


@router.post("/people/bulk", tags=["people"], summary="Add and change many people", responses=responses(ItemsRefused))
async def put_people(body: PeopleBody, editor: Editor, org: UseCases, writer: AuditedWriter) -> Answered[PeopleAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each."""

    async def put(tx: Transaction) -> PeopleAnswer:
        created = [(f"/create/{index}", each.person) for index, each in enumerate(body.create)]
        changes = [
            Change(f"/change/{index}", each["id"], each["version"], person_changed(each))
            for index, each in enumerate(body.change)
        ]
        new, changed = await org.put_people(tx, editor.tenant_id, created, changes, Refusals())
        return PeopleAnswer(
            created=[PersonAnswer.of(each) for each in new], changed=[PersonAnswer.of(each) for each in changed]
        )

    return await writer.commit(put)


@router.get("/teams", tags=["teams"], summary="List teams")
async def list_teams(
    caller: CurrentCaller,
    org: UseCases,
    calendars: Days,
    paging: Paging,
    parent_id: Annotated[UUID | None, Query(description="Only the teams right below this one.")] = None,
    manager_id: Annotated[UUID | None, Query(description="Only the teams this person manages itself.")] = None,
) -> Page[TeamAnswer]:
    """As they are today. A manager sees the teams it manages and those below, a rep none."""
    async with caller.reading() as (tx, sight):
        found = await org.list_teams(
            tx,
            caller.tenant_id,
            sight,
            TeamFilter(parent_id, manager_id),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
        today = await calendars.today(tx, caller.tenant_id)
    return _IDS.page(paging, found, key=lambda team: team.id, item=lambda team: TeamAnswer.of(team, today))


@router.post(
    "/teams", tags=["teams"], summary="Add a team", status_code=201, responses=responses(UnknownTeam, UnknownPerson)
)
async def create_team(
    body: TeamBody, editor: Editor, org: UseCases, calendars: Days, writer: AuditedWriter
) -> Answered[TeamAnswer]:
    """Its parent and its manager are in force from the beginning of time, until a change."""

    async def create(tx: Transaction) -> TeamAnswer:
        added = await org.create_team(
            tx, editor.tenant_id, name=body.name, parent_id=body.parent_id, manager_id=body.manager_id
        )
        return TeamAnswer.of(added, await calendars.today(tx, editor.tenant_id))

    return await writer.commit(create, status=201, location=lambda team: f"/v1/teams/{team.id}")


@router.get("/teams/{team_id}", tags=["teams"], summary="A team", responses=responses(TeamNotFound))
async def get_team(
    team_id: UUID, caller: CurrentCaller, org: UseCases, calendars: Days, read: ConditionalRead
) -> Answered[TeamAnswer]:
    async with caller.reading() as (tx, sight):
        found = await org.get_team(tx, caller.tenant_id, team_id, sight)
        answer = TeamAnswer.of(found, await calendars.today(tx, caller.tenant_id))
    return read.answer(answer)


@router.patch(
    "/teams/{team_id}",
    tags=["teams"],
    summary="Change a team",
    responses=responses(TeamNotFound, UnknownTeam, UnknownPerson, TeamCircle, *_CHANGE),
)
async def change_team(
    team_id: UUID,
    body: TeamChanges,
    editor: Editor,
    org: UseCases,
    calendars: Days,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[TeamAnswer]:
    """A team that moves on a day takes its deals of that day and later with it, and none of before."""

    async def change(tx: Transaction) -> TeamAnswer:
        changed = await org.change_team(tx, editor.tenant_id, team_id, expected, team_changed(body))
        return TeamAnswer.of(changed, await calendars.today(tx, editor.tenant_id))

    return await writer.commit(change)


@router.post("/teams/bulk", tags=["teams"], summary="Add and change many teams", responses=responses(ItemsRefused))
async def put_teams(
    body: TeamsBody, editor: Editor, org: UseCases, calendars: Days, writer: AuditedWriter
) -> Answered[TeamsAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each."""

    async def put(tx: Transaction) -> TeamsAnswer:
        today = await calendars.today(tx, editor.tenant_id)
        created = [(f"/create/{index}", each.team) for index, each in enumerate(body.create)]
        changes = [
            Change(f"/change/{index}", each["id"], each["version"], _on(today, team_changed(each)))
            for index, each in enumerate(body.change)
        ]
        new, changed = await org.put_teams(tx, editor.tenant_id, created, changes, Refusals())
        return TeamsAnswer(
            created=[TeamAnswer.of(each, today) for each in new],
            changed=[TeamAnswer.of(each, today) for each in changed],
        )

    return await writer.commit(put)


@router.get("/memberships", tags=["memberships"], summary="List memberships")
async def list_memberships(
    caller: CurrentCaller,
    org: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    team_id: Annotated[UUID | None, Query(description="Only of this very team, not of those below.")] = None,
    on: Annotated[date | None, Query(description="Only those in force on this day.")] = None,
) -> Page[MembershipAnswer]:
    async with caller.reading() as (tx, sight):
        found = await org.list_memberships(
            tx,
            caller.tenant_id,
            sight,
            MembershipFilter(person_id, team_id, on),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda membership: membership.id, item=MembershipAnswer.of)


@router.post(
    "/memberships",
    tags=["memberships"],
    summary="Put a person into a team",
    status_code=201,
    responses=responses(UnknownPerson, UnknownTeam, MembershipOverlaps),
)
async def create_membership(
    body: MembershipBody, editor: Editor, org: UseCases, writer: AuditedWriter
) -> Answered[MembershipAnswer]:
    """A person may be in several teams at once, but in the same team only once on any day."""
    dated = DatedRange(body.start, body.end)

    return await writer.commit(
        lambda tx: org.create_membership(
            tx, editor.tenant_id, person_id=body.person_id, team_id=body.team_id, dated=dated
        ),
        MembershipAnswer.of,
        status=201,
        location=lambda membership: f"/v1/memberships/{membership.id}",
    )


@router.get(
    "/memberships/{membership_id}",
    tags=["memberships"],
    summary="A membership",
    responses=responses(MembershipNotFound),
)
async def get_membership(
    membership_id: UUID, caller: CurrentCaller, org: UseCases, read: ConditionalRead
) -> Answered[MembershipAnswer]:
    async with caller.reading() as (tx, sight):
        answer = MembershipAnswer.of(await org.get_membership(tx, caller.tenant_id, membership_id, sight))
    return read.answer(answer)


@router.patch(
    "/memberships/{membership_id}",
    tags=["memberships"],
    summary="Change the days of a membership",
    responses=responses(MembershipNotFound, MembershipOverlaps, *_CHANGE),
)
async def change_membership(
    membership_id: UUID,
    body: MembershipChanges,
    editor: Editor,
    org: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[MembershipAnswer]:
    """Someone who leaves or changes teams gets an `end`; deleting is for what never was so."""

    return await writer.commit(
        lambda tx: org.change_membership(tx, editor.tenant_id, membership_id, expected, membership_changed(body)),
        MembershipAnswer.of,
    )


@router.delete(
    "/memberships/{membership_id}",
    tags=["memberships"],
    summary="Take a membership back as if never stated",
    status_code=204,
    responses=responses(MembershipNotFound, *_CHANGE),
)
async def delete_membership(
    membership_id: UUID, editor: Editor, org: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Response:
    async def delete(tx: Transaction) -> None:
        await org.change_membership(tx, editor.tenant_id, membership_id, expected, membership_deleted)

    return await writer.commit(delete, status=204)


@router.post(
    "/memberships/bulk",
    tags=["memberships"],
    summary="Create, change and take back many memberships",
    responses=responses(ItemsRefused),
)
async def put_memberships(
    body: MembershipsBody, editor: Editor, org: UseCases, writer: AuditedWriter
) -> Answered[MembershipsAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each."""

    async def put(tx: Transaction) -> MembershipsAnswer:
        created = [(f"/create/{index}", each.membership) for index, each in enumerate(body.create)]
        changes = [
            *(
                Change(f"/delete/{index}", each["id"], each["version"], membership_deleted)
                for index, each in enumerate(body.delete)
            ),
            *(
                Change(f"/change/{index}", each["id"], each["version"], membership_changed(each))
                for index, each in enumerate(body.change)
            ),
        ]
        new, changed = await org.put_memberships(tx, editor.tenant_id, created, changes, Refusals())
        return MembershipsAnswer(
            created=[MembershipAnswer.of(each) for each in new],
            changed=[MembershipAnswer.of(each) for each in changed if not each.deleted],
        )

    return await writer.commit(put)


@router.get("/identities", tags=["identities"], summary="List CRM identities")
async def list_identities(
    caller: CurrentCaller,
    org: UseCases,
    paging: Paging,
    person_id: Annotated[UUID | None, Query(description="Only this person's.")] = None,
    source: Annotated[Line | None, Query(description="Only of this source.")] = None,
    external_user_id: Annotated[Line | None, Query(description="Only of this user.")] = None,
) -> Page[IdentityAnswer]:
    async with caller.reading() as (tx, sight):
        found = await org.list_identities(
            tx,
            caller.tenant_id,
            sight,
            IdentityFilter(person_id, source, external_user_id),
            after=_IDS.after(paging),
            limit=paging.fetch_limit,
        )
    return _IDS.page(paging, found, key=lambda identity: identity.id, item=IdentityAnswer.of)


@router.post(
    "/identities",
    tags=["identities"],
    summary="Say who a CRM user is",
    status_code=201,
    responses=responses(UnknownPerson, IdentityTaken),
)
async def create_identity(
    body: IdentityBody, editor: Editor, org: UseCases, writer: AuditedWriter
) -> Answered[IdentityAnswer]:
    """The user's deals of all days count for the person from now on."""
    return await writer.commit(
        lambda tx: org.create_identity(
            tx, editor.tenant_id, source=body.source, external_user_id=body.external_user_id, person_id=body.person_id
        ),
        IdentityAnswer.of,
        status=201,
        location=lambda identity: f"/v1/identities/{identity.id}",
    )


@router.get(
    "/identities/{identity_id}", tags=["identities"], summary="A CRM identity", responses=responses(IdentityNotFound)
)
async def get_identity(
    identity_id: UUID, caller: CurrentCaller, org: UseCases, read: ConditionalRead
) -> Answered[IdentityAnswer]:
    async with caller.reading() as (tx, sight):
        answer = IdentityAnswer.of(await org.get_identity(tx, caller.tenant_id, identity_id, sight))
    return read.answer(answer)


@router.patch(
    "/identities/{identity_id}",
    tags=["identities"],
    summary="Say that a CRM user is another person",
    responses=responses(IdentityNotFound, UnknownPerson, *_CHANGE),
)
async def change_identity(
    identity_id: UUID,
    body: IdentityChanges,
    editor: Editor,
    org: UseCases,
    writer: AuditedWriter,
    expected: ExpectedVersion,
) -> Answered[IdentityAnswer]:
    return await writer.commit(
        lambda tx: org.change_identity(tx, editor.tenant_id, identity_id, expected, identity_of(body.person_id)),
        IdentityAnswer.of,
    )


@router.delete(
    "/identities/{identity_id}",
    tags=["identities"],
    summary="Say that a CRM user is nobody",
    status_code=204,
    responses=responses(IdentityNotFound, *_CHANGE),
)
async def delete_identity(
    identity_id: UUID, editor: Editor, org: UseCases, writer: AuditedWriter, expected: ExpectedVersion
) -> Response:
    async def delete(tx: Transaction) -> None:
        await org.change_identity(tx, editor.tenant_id, identity_id, expected, identity_deleted)

    return await writer.commit(delete, status=204)


@router.post(
    "/identities/bulk",
    tags=["identities"],
    summary="Create, change and take back many identities",
    responses=responses(ItemsRefused),
)
async def put_identities(
    body: IdentitiesBody, editor: Editor, org: UseCases, writer: AuditedWriter
) -> Answered[IdentitiesAnswer]:
    """Up to 1,000 of each; all of it happens or nothing, and what is wrong is told of each."""

    async def put(tx: Transaction) -> IdentitiesAnswer:
        created = [(f"/create/{index}", each.identity) for index, each in enumerate(body.create)]
        changes = [
            *(
                Change(f"/delete/{index}", each["id"], each["version"], identity_deleted)
                for index, each in enumerate(body.delete)
            ),
            *(
                Change(f"/change/{index}", each["id"], each["version"], identity_of(each["person_id"]))
                for index, each in enumerate(body.change)
            ),
        ]
        new, changed = await org.put_identities(tx, editor.tenant_id, created, changes, Refusals())
        return IdentitiesAnswer(
            created=[IdentityAnswer.of(each) for each in new],
            changed=[IdentityAnswer.of(each) for each in changed if not each.deleted],
        )

    return await writer.commit(put)


def _on(today: date, change: Callable[[Team, date], Team]) -> Callable[[Team], Team]:
    return lambda team: change(team, today)
