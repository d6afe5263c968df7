"""Who may say yes: nobody to what they wrote a part of, nobody to what pays or measures them."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.approvals import (
    SERVICE,
    UNKNOWN,
    Actor,
    ActorKind,
    ApprovalNotIndependent,
    OwnInterest,
    Proposal,
    check_no_own_interest,
)

PEOPLE = [UUID(int=number) for number in range(1, 6)]
people = st.sampled_from(PEOPLE)
known = st.one_of(people.map(Actor.of), st.just(SERVICE))


def allowed(proposal: Proposal, approver: Actor) -> bool:
    try:
        proposal.check(approver)
    except ApprovalNotIndependent:
        return False
    return True


@given(st.frozensets(known), st.frozensets(people), people)
def test_a_person_approves_just_what_they_neither_wrote_nor_are_paid_by(
    authors: frozenset[Actor], concerned: frozenset[UUID], approver: UUID
) -> None:
    wrote = any(author.person_id == approver for author in authors)
    proposal = Proposal("it", authors, concerned, "an admin")
    assert allowed(proposal, Actor.of(approver)) == (not wrote and approver not in concerned)


@given(st.frozensets(known), st.frozensets(people))
def test_a_service_approves_nothing(authors: frozenset[Actor], concerned: frozenset[UUID]) -> None:
    assert not allowed(Proposal("it", authors, concerned, "an admin"), SERVICE)


@given(st.frozensets(known), people)
def test_nobody_approves_what_an_unrecorded_person_wrote_a_part_of(authors: frozenset[Actor], approver: UUID) -> None:
    assert not allowed(Proposal("it", authors | {UNKNOWN}, (), "an admin"), Actor.of(approver))


@pytest.mark.parametrize(
    ("authors", "concerned", "approver", "why"),
    [
        ([PEOPLE[0]], [], PEOPLE[0], "Who wrote a part of version 2 cannot approve it"),
        ([PEOPLE[1]], [PEOPLE[0]], PEOPLE[0], "Who is paid or measured by version 2 cannot approve it"),
        ([PEOPLE[1]], [], None, "version 2 is approved by a person, not by a service"),
    ],
)
def test_a_refused_approval_says_why_and_who_could(
    authors: list[UUID], concerned: list[UUID], approver: UUID | None, why: str
) -> None:
    proposal = Proposal("version 2", [Actor.of(author) for author in authors], concerned, "an admin")
    with pytest.raises(ApprovalNotIndependent) as refused:
        proposal.check(Actor.of(approver))
    assert refused.value.detail == (f"{why}: ask an admin who wrote no part of it and is not paid or measured by it.")


def test_nobody_changes_what_pays_themselves() -> None:
    check_no_own_interest(SERVICE, PEOPLE, "a quota")
    check_no_own_interest(Actor.of(PEOPLE[0]), PEOPLE[1:], "a quota")
    with pytest.raises(OwnInterest, match="Nobody changes a quota of their own"):
        check_no_own_interest(Actor.of(PEOPLE[0]), PEOPLE, "a quota")


def test_only_a_person_has_a_persons_id() -> None:
    with pytest.raises(ValueError, match="has a person's id"):
        Actor(ActorKind.PERSON)
    with pytest.raises(ValueError, match="has a person's id"):
        Actor(ActorKind.SERVICE, PEOPLE[0])
