"""A refusal points at the member of the body that was sent, names what is accepted, and shows nothing of the inside."""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from services.goals.targets.schemas import GoalBody
from services.incentives.plans.schemas import PlanVersionBody
from services.tracking.intake.connections.schemas import ConnectionBody
from shared.contracts.base import Amount
from shared.http.problems import error_response
from shared.http.refused import ProblemField, refused_field
from shared.kernel.errors import InvalidInput

INTERNAL: Final = re.compile(r"found `|<\w+\.\w+:|Input |pydantic|function-|\[type=|<class|None\b|tag ")


class Flat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shape: Literal["flat"]
    rate: Amount


class Tiers(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shape: Literal["tiers"]
    mode: Literal["marginal", "retroactive"]
    tiers: list[Flat]


class GoalTerms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    owner_id: UUID | None = None
    rate: Annotated[Flat | Tiers, Field(discriminator="shape")]
    by_name: dict[str, Flat] = {}


FLAT: Final[JsonValue] = {"shape": "flat", "rate": "1"}
TIERS: Final[dict[str, JsonValue]] = {"shape": "tiers", "mode": "marginal", "tiers": [FLAT]}


def refused(body: JsonValue, model: type[BaseModel] = GoalTerms) -> dict[str, ProblemField]:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(model).validate_python(body)
    fields = [refused_field({**each, "loc": ("body", *each["loc"])}, body, model) for each in raised.value.errors()]
    for field in fields:
        assert not INTERNAL.search(f"{field.message} {field.accepted}"), field
    return {field.pointer: field for field in fields}


def test_a_member_of_an_alternative_that_is_called_like_it_is_pointed_at() -> None:
    found = refused({"rate": {**TIERS, "mode": "wrong"}})
    assert {pointer: each.accepted for pointer, each in found.items()} == {"/rate/mode": "marginal or retroactive"}
    assert set(refused({"rate": {"shape": "tiers", "tiers": [FLAT]}})) == {"/rate/mode"}
    assert set(refused({"rate": {**TIERS, "tiers": [{"shape": "flat", "rate": "x"}]}})) == {"/rate/tiers/0/rate"}


def test_what_tells_alternatives_apart_is_pointed_at_with_its_words() -> None:
    found = refused({"rate": {"shape": "tierz"}})
    assert {pointer: each.accepted for pointer, each in found.items()} == {"/rate/shape": "flat, tiers"}
    assert refused({"rate": {}})["/rate/shape"].message == "is required"


def test_a_member_that_is_not_known_gets_the_near_names_first() -> None:
    found = refused({"rate": FLAT, "ownerId": None, "by_name": {"a/b~": {"shape": "flat", "rate": "1", "rates": 1}}})
    assert found["/ownerId"].accepted == "owner_id; known are by_name, owner_id, rate"
    assert found["/by_name/a~1b~0/rates"].accepted == "rate; known are rate, shape"


def test_a_parsers_words_are_not_shown() -> None:
    found = refused({"rate": {"shape": "flat", "rate": "1_0"}, "owner_id": "user"})
    assert found["/owner_id"].message == "is not a UUID"
    assert found["/rate/rate"].accepted == 'a decimal in a string, such as "1200.50"'


@pytest.mark.parametrize(
    ("model", "changes", "pointer", "accepted"),
    [
        (GoalBody, {"owner": {"kind": "person", "id": "user"}}, "/owner/id", "a UUID"),
        (GoalBody, {"owners": 1}, "/owners", "owner; known are"),
        (GoalBody, {"weight": "-1"}, "/weight", "greater than or equal to 0"),
        (
            ConnectionBody,
            {"mapping": {"fields": {"amout": "Amount"}}},
            "/mapping/fields/amout",
            "amount or home_amount; known are",
        ),
        (ConnectionBody, {"mapping": {"stage": {}}}, "/mapping/stage", "stages; known are"),
        (ConnectionBody, {"mapping": {"stages": {"Closed": "Won"}}}, "/mapping/stages/Closed", "open, won or lost"),
        (PlanVersionBody, {"effective_from": "2026-13-01"}, "/effective_from", "a day as YYYY-MM-DD"),
    ],
)
def test_a_wrong_member_of_a_request_is_pointed_at(
    model: type[BaseModel], changes: dict[str, JsonValue], pointer: str, accepted: str
) -> None:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    examples = extra["examples"]
    assert isinstance(examples, list)
    example = examples[0]
    assert isinstance(example, dict)
    found = refused({**example, **changes}, model)
    assert set(found) == {pointer}
    assert (found[pointer].accepted or "").startswith(accepted)


def test_numbers_that_python_reads_and_nobody_writes_are_refused() -> None:
    for odd in ("1_0.5", "１２"):
        assert set(refused({"shape": "flat", "rate": odd}, Flat)) == {"/rate"}
    assert Flat.model_validate({"shape": "flat", "rate": "12.5"}).rate == Decimal("12.5")


def test_half_of_a_surrogate_pair_that_was_sent_is_spelt_out_in_the_answer() -> None:
    error = InvalidInput.field("/filter/field", '"\ud800" is not a field', "amount")
    response = error_response(error)
    assert response.status_code == 422
    assert "\\\\ud800" in bytes(response.body).decode()
