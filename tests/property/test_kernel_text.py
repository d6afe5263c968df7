"""Texts that Unicode takes for the same are the same here, in whichever way each of them was written."""

import json
from collections.abc import Sequence
from unicodedata import normalize
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracking.intake.sources.canonical import canonical_deal
from services.tracking.intake.sources.domain import SourceMapping
from shared.contracts.deals import Deal
from shared.contracts.examples import EXAMPLES
from shared.kernel.deals import DEAL_FIELDS, DealStatus
from shared.kernel.filters import first_failing, parse_filter
from shared.kernel.ids import deal_id
from shared.kernel.text import composed, composed_members, folded

DEAL = json.loads(EXAMPLES[Deal.event_type].model_dump_json(exclude={"corrections"}))
"""As releases published it that took texts as they came."""
ZOE = "Zo\u00eb AG"
TEXT_MEMBERS = (
    *("source", "owner_external_id", "name", "stage", "pipeline", "type", "channel", "region", "account_id"),
    "account_name",
)
LETTERS = st.text(
    'aeouzZA\u00e9\u00eb\u00c5\u212b\u1e69\u1e0b\u0323\u0307\u0301\u0308\u0344\u30ac\u1100\uac01<>=\\"\n 中',
    max_size=12,
)


@st.composite
def written(draw: st.DrawFn, texts: st.SearchStrategy[str] = LETTERS, *, ways: int = 2) -> Sequence[str]:
    """One text, written in several ways that Unicode takes for the same."""
    text = normalize("NFC", draw(texts))
    return [
        "".join(normalize("NFD", letter) if draw(st.booleans()) else letter for letter in text) for _ in range(ways)
    ]


def event(**members: object) -> Deal:
    """A deal as a topic may have it, in whatever writing."""
    return Deal.from_json(json.dumps({**DEAL, **members}, ensure_ascii=False))


@given(written(), st.sampled_from(("eq", "ne", "in", "not_in", "contains", "starts_with")), written())
def test_any_pair_of_canonically_equivalent_texts_compares_equal(
    values: Sequence[str], op: str, names: Sequence[str]
) -> None:
    wanted = [values[0]] if op in ("in", "not_in") else values[0]
    deal = event(account_name=values[1], custom={names[1]: values[1]})
    fields = ["account_name", *([f"custom.{names[0]}"] if names[0] else [])]
    for field in fields:
        condition = parse_filter({"field": field, "op": op, "value": wanted}, DEAL_FIELDS)
        holds = first_failing(condition, deal.facts().value_of) is None
        assert holds == (op not in ("ne", "not_in"))


@given(written())
def test_composing_and_folding_do_not_see_how_a_text_was_written(texts: Sequence[str]) -> None:
    one, other = texts
    assert composed(one) == composed(other) == normalize("NFC", one)
    assert folded(one) == folded(other)


@given(
    st.recursive(st.none() | st.integers() | LETTERS, lambda inner: st.lists(inner) | st.dictionaries(LETTERS, inner))
)
def test_everything_in_a_document_is_composed_and_nothing_else_of_it_changes(document: object) -> None:
    found = composed_members(document)
    assert found == composed_members(found)
    text = json.dumps(found, ensure_ascii=False)
    assert json.loads(normalize("NFC", text) if "\\" not in text else text) == found


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("member", TEXT_MEMBERS)
def test_an_event_that_was_published_as_the_crm_wrote_it_is_read_in_one_form(member: str, escaped: bool) -> None:
    document = json.dumps({**DEAL, member: normalize("NFD", ZOE)}, ensure_ascii=escaped)
    assert Deal.from_json(document) == Deal.from_json(document.encode())
    assert getattr(Deal.from_json(document), member) == ZOE


def test_an_event_that_needs_no_composing_is_read_as_it_is() -> None:
    for example in EXAMPLES.values():
        assert type(example).from_json(example.model_dump_json()) == example


@given(written(), written(), written(), st.sampled_from(DealStatus))
def test_a_mapping_knows_a_word_however_the_crm_writes_it(
    stages: Sequence[str], users: Sequence[str], names: Sequence[str], status: DealStatus
) -> None:
    mapping = SourceMapping(
        stages={composed(stages[0]): status},
        users={composed(users[0]): "somebody"},
        custom_fields={composed(names[0]): "tag"},
        fields={"region": composed(names[0]) or "region"},
    )
    told = {
        "external_id": "1",
        "modified_at": "2026-03-31T18:40:02Z",
        "stage": stages[1],
        "owner_external_id": users[1],
        "custom": {names[1]: names[1]},
    }
    raw = {names[1] or "region": "North"}
    deal = canonical_deal(told, raw, mapping, pointer="") if users[1] else None
    if deal is not None:
        assert (deal.status, deal.owner_external_id, deal.region) == (status, "somebody", "North")
        assert deal.custom == {"tag": composed(names[0])}


def test_a_deal_keeps_the_identity_that_its_id_in_the_source_gave_it_to_the_letter() -> None:
    decomposed = normalize("NFD", ZOE)
    told = {"external_id": decomposed, "modified_at": "2026-03-31T18:40:02Z", "status": "won"}
    deal = canonical_deal(told, {}, SourceMapping(), pointer="")
    assert deal_id(UUID(int=1), deal.external_id) == deal_id(UUID(int=1), decomposed) != deal_id(UUID(int=1), ZOE)
