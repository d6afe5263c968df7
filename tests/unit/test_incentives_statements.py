"""Texts, numbers and layout of statements, and the files that are made of them."""

from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from string import Formatter
from typing import Final
from uuid import UUID

import pytest
from pypdf import PdfReader

from services.incentives.statements.archive import file_name
from services.incentives.statements.columns import rows_of
from services.incentives.statements.content import (
    EarnedContent,
    PaidContent,
    earned_content,
    kept_statement,
    paid_content,
)
from services.incentives.statements.domain import display
from services.incentives.statements.domain.chinese import CHINESE
from services.incentives.statements.domain.english import ENGLISH
from services.incentives.statements.domain.pay import collected
from services.incentives.statements.domain.statement import (
    LINES_MAX,
    DocumentTooLong,
    Payee,
    PersonStatement,
    StatedEarning,
    StatedLine,
    StatedMultiplier,
    StatedSlice,
    StatedStep,
    StatedTier,
    statement_document,
    totals,
)
from services.incentives.statements.domain.texts import Texts
from services.incentives.statements.rendering import Renderer
from shared.kernel.periods import Period
from shared.kernel.reasons import Words

QUARTER: Final = Period(date(2026, 1, 1), date(2026, 4, 1))
LINE: Final = StatedLine(
    deal_id=UUID(int=1),
    source="pipedrive",
    external_id="746",
    deal_name="Acme",
    customer="Acme",
    day=date(2026, 3, 31),
    percent=Decimal("50"),
    value=Decimal("1000.5"),
    conversion=None,
    slices=[StatedSlice(1, Decimal("1000.5"), Decimal("0.05"))],
    rerated=Decimal(0),
    amount=Decimal("50.03"),
)
EARNING: Final = StatedEarning(
    earning_id=UUID(int=2),
    plan_name="Reps",
    plan_version=1,
    component="bookings",
    name="New business",
    kind="commission",
    is_money=True,
    period=QUARTER,
    currency="USD",
    measure=Decimal("1000.5"),
    quota=None,
    quota_gap=None,
    attainment=None,
    earned=Decimal("50.03"),
    owed=Decimal("50.03"),
    tiers=[],
    lines=[LINE],
    steps=[],
    is_stale=False,
    changed_at=datetime(2026, 4, 2, 3, 4, 5, 678, tzinfo=UTC),
)


def of(*earnings: StatedEarning) -> PersonStatement:
    return PersonStatement(Payee(UUID(int=3), "Ann", "E-1"), QUARTER.start, QUARTER.end, earnings)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_put_the_same_into_every_text() -> None:
    for each in fields(Texts):
        english, chinese = getattr(ENGLISH, each.name), getattr(CHINESE, each.name)
        if isinstance(english, str):
            assert english and chinese, each.name
            assert placeholders(english) == placeholders(chinese), each.name
            assert each.name == "language" or english != chinese, each.name
        else:
            assert len(english) == len(chinese), each.name
    assert [key for key, _ in ENGLISH.kinds] == [key for key, _ in CHINESE.kinds]
    assert [key for key, _ in ENGLISH.gaps] == [key for key, _ in CHINESE.gaps]


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1234567.5", "USD", "USD 1,234,567.50"),
        ("-0.004", "USD", "USD 0.00"),
        ("-1234.5", "JPY", "JPY -1,235"),
        ("1.2345", "BHD", "BHD 1.235"),
    ],
)
def test_money_has_the_decimals_of_its_currency(amount: str, currency: str, expected: str) -> None:
    assert display.money(Decimal(amount), currency) == expected


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        ("1234.5", None, "1,234.5"),
        ("1234.5", "USD", "1,234.50"),
        ("-0.25", None, "-0.25"),
        ("1E+3", "JPY", "1,000"),
        ("0.3333333333", None, "0.333333"),
        ("-0.0000001", None, "0"),
    ],
)
def test_a_value_shows_the_decimals_it_has(value: str, currency: str | None, expected: str) -> None:
    assert display.number(Decimal(value), currency) == expected


def test_shares_and_rates_read_as_percentages() -> None:
    assert display.percent(Decimal("0.0551")) == "5.51%"
    assert display.attained(Decimal("0.999999")) == "99.99%"
    assert display.attained(Decimal("-0.12345")) == "-12.34%"
    assert display.attained(None) == "—"
    assert display.rate(Decimal("250"), is_money=False, currency="USD") == "USD 250.00"


def test_a_document_says_where_the_ledger_has_something_else() -> None:
    right = statement_document(of(EARNING), ENGLISH)
    wrong = statement_document(of(replace(EARNING, owed=Decimal(50))), ENGLISH)
    assert [section.notes for section in right.sections] == [(), ()]
    assert wrong.sections[0].notes == (
        "The ledger has USD 50.00 for this, and the earnings come to USD 50.03. Ask finance before this is paid.",
    )


def test_what_no_single_deal_brought_in_stands_on_its_own_so_that_the_amounts_add_up() -> None:
    more = replace(EARNING, earned=Decimal("80.03"), owed=Decimal("80.03"))
    sheet = statement_document(of(more), ENGLISH).sections[-1].tables[-1]
    assert [row[-1] for row in (*sheet.rows, *sheet.totals)] == ["50.03", "30.00", "80.03"]
    assert [row["amount"] for row in rows_of(of(more))] == [Decimal("50.03"), Decimal("30.00")]
    assert [row["amount"] for row in rows_of(of(EARNING))] == [Decimal("50.03")]


def test_totals_are_of_each_currency() -> None:
    yen = replace(EARNING, currency="JPY", earned=Decimal(7), owed=Decimal(6))
    assert totals([EARNING, yen, EARNING]) == {
        "JPY": (Decimal(7), Decimal(6)),
        "USD": (Decimal("100.06"), Decimal("100.06")),
    }


def test_a_statement_of_more_lines_than_somebody_reads_is_refused() -> None:
    of(replace(EARNING, lines=[LINE] * LINES_MAX)).check_length()
    with pytest.raises(DocumentTooLong):
        of(replace(EARNING, lines=[LINE] * (LINES_MAX + 1))).check_length()


def test_the_same_document_is_the_same_bytes_from_every_process() -> None:
    document = statement_document(of(EARNING), CHINESE)
    assert Renderer().pdf(document) == Renderer().pdf(document)
    assert Renderer().html(document) == Renderer().html(document)
    created = PdfReader(BytesIO(Renderer().pdf(document))).metadata
    assert created is not None
    assert created.creation_date == datetime(2026, 4, 2, 3, 4, 5, tzinfo=UTC)
    later = replace(EARNING, changed_at=datetime(2026, 4, 2, 3, 5, tzinfo=UTC))
    assert Renderer().pdf(document) != Renderer().pdf(statement_document(of(later), CHINESE))


def test_a_file_is_named_after_the_person_and_like_nobody_elses() -> None:
    person = UUID(int=7)
    assert file_name(Payee(person, "Ann / Lee", "../E 1")) == "E_1_Ann_Lee"
    assert file_name(Payee(person, "王小明", None)) == f"王小明_{person}"
    assert file_name(Payee(person)) == str(person)


def test_steps_stand_with_their_words_and_add_up_with_the_lines() -> None:
    steps = [StatedStep(Words("The cap of the period.", "期间上限。"), Decimal("-10.03"))]
    capped = replace(EARNING, earned=Decimal(40), owed=Decimal(40), steps=steps)
    for texts, words in ((ENGLISH, "The cap of the period."), (CHINESE, "期间上限。")):
        lines, taken = statement_document(of(capped), texts).sections[-1].tables
        assert [row[-1] for row in (*lines.rows, *lines.totals)] == ["50.03", "-10.03", "40.00"]
        assert taken.rows == ((words, "-10.03"),)
    assert [(row.get("step"), row["amount"]) for row in rows_of(of(capped))] == [
        (None, Decimal("50.03")),
        ("The cap of the period.", Decimal("-10.03")),
    ]
    without_deals = replace(capped, lines=[], earned=Decimal("-10.03"), owed=Decimal("-10.03"))
    [alone] = statement_document(of(without_deals), ENGLISH).sections[-1].tables
    assert alone.totals == (("Total", "USD -10.03"),)


def test_a_line_says_what_multipliers_caps_and_the_rule_for_giant_deals_did() -> None:
    line = replace(
        LINE,
        multipliers=[StatedMultiplier("Multi-year", Decimal("1.2"), True), StatedMultiplier("New", Decimal(2), False)],
        multiplied=Decimal("10.01"),
        withheld=Decimal(5),
        left_out=Decimal(250),
        slices=[StatedSlice(1, Decimal(1000), Decimal("0.05"), Decimal(20))],
    )
    sheet = statement_document(of(replace(EARNING, lines=[line])), ENGLISH).sections[-1].tables[-1]
    assert sheet.rows[0][4].split("\n") == [
        "1,000.00 × 5% + 20.00",
        "Multi-year: pays 1.2 times",
        "New: counts 2 times",
        "multipliers add 10.01",
        "cap of a deal withholds 5.00",
        "not counted of a giant deal: 250.00",
    ]
    [row] = rows_of(of(replace(EARNING, lines=[line])))
    assert (row["slices"], row["multiplied"], row["withheld"]) == ("1000 × 0.05 + 20", Decimal("10.01"), Decimal(5))


def test_a_bound_belongs_to_the_tier_that_its_words_say() -> None:
    tiers = [
        StatedTier(Decimal(0), Decimal("0.05"), Decimal(0), Decimal(0)),
        StatedTier(Decimal(100), Decimal("0.06"), Decimal(0), Decimal(0)),
        StatedTier(Decimal(200), Decimal("0.07"), Decimal(0), Decimal(0), is_exclusive=True),
    ]
    sheet = statement_document(of(replace(EARNING, tiers=tiers)), ENGLISH).sections[-1].tables[0]
    assert [row[0] for row in sheet.rows] == [
        "Tier 1: 0.00 up to, not including, 100.00",
        "Tier 2: 100.00 up to and including 200.00",
        "Tier 3: more than 200.00",
    ]


KEPT: Final = (
    '{"format":1,"pay_period_id":"00000000-0000-0000-0000-000000000009","period":{"start":"2026-03-01","end":"2026-04-01"},'
    '"cut_off_at":"2026-04-02T08:00:00Z","payee":{"person_id":"00000000-0000-0000-0000-000000000003","name":"Ann",'
    '"employee_number":"E-1"},"earnings":[{"earning_id":"00000000-0000-0000-0000-000000000002","plan_name":"Reps",'
    '"plan_version":1,"component":"bookings","name":"New business","kind":"commission","is_money":true,'
    '"period":{"start":"2026-01-01","end":"2026-04-01"},"currency":"USD","measure":"1000.5","quota":null,'
    '"quota_gap":null,"attainment":null,"earned":"50.03","owed":"50.03","tiers":[],"lines":['
    '{"deal_id":"00000000-0000-0000-0000-000000000001","source":"pipedrive","external_id":"746","deal_name":"Acme",'
    '"customer":"Acme","day":"2026-03-31","percent":"50","value":"1000.5","conversion":null,"slices":[{"tier":1,'
    '"value":"1000.5","rate":"0.05","step":"0"}],"rerated":"0","amount":"50.03","multipliers":[],"left_out":"0",'
    '"multiplied":"0","withheld":"0"}],"steps":[{"words":{"en":"A step.","zh":"一步。"},"amount":"0"}],'
    '"is_stale":false,"changed_at":"2026-04-02T03:04:05.000678Z","before":"0","rerated_before":"0",'
    '"as_paid":"50.03"}],"totals":[{"currency":"USD","for_due":"50.03","for_earlier":"-10"}],"earlier":['
    '{"earning_id":"00000000-0000-0000-0000-000000000005","plan_name":"Reps","component":"New business",'
    '"origin":{"start":"2025-10-01","end":"2026-01-01"},"posted_in":{"start":"2026-03-01","end":"2026-04-01"},'
    '"posted_at":"2026-03-12T09:30:00Z","amount":"-10","currency":"USD","cause":"deal","deal":{'
    '"id":"00000000-0000-0000-0000-000000000007","source":"pipedrive","external_id":"12","name":"Beta"},'
    '"changes":[],"by":null}]}'
)
PAID: Final = (
    '{"format":1,"pay_period_id":"00000000-0000-0000-0000-000000000009",'
    '"person_id":"00000000-0000-0000-0000-000000000003","earned":"e","payouts":[{"run_number":4,"status":"paid",'
    '"period":{"start":"2026-03-01","end":"2026-04-01"},"plan_name":"Reps","currency":"USD","earned":"40.03",'
    '"paid":"30.03","lines":[{"kind":"earned","amount":"40.03"},{"kind":"held_back","amount":"-10"}],"carried":"10",'
    '"owed":"0","held_back":"10","paid_on":"2026-04-06","reverses":null}]}'
)
"""What was kept by the first release that kept statements."""


def test_what_was_kept_is_read_for_good_and_would_be_written_the_same() -> None:
    earned, paid = EarnedContent.model_validate_json(KEPT), PaidContent.model_validate_json(PAID)
    found = kept_statement(earned, paid, "d" * 64)
    assert found.pay is not None
    [earning] = found.earnings
    [line] = earning.lines
    assert replace(earning, steps=[], as_paid=None, lines=[replace(line, multipliers=())]) == EARNING
    assert earned_content(found, found.pay).model_dump_json() == KEPT
    assert paid_content(UUID(int=9), UUID(int=3), "e", list(found.payouts)).model_dump_json() == PAID
    document = statement_document(found, ENGLISH)
    assert [fact.value for fact in document.figures] == ["USD 40.03", "USD 30.03"]
    assert document.footer.endswith("d" * 64)


def test_postings_of_one_reason_are_one_correction_and_none_of_nothing() -> None:
    pay = kept_statement(EarnedContent.model_validate_json(KEPT), None, "d").pay
    assert pay is not None
    [first] = pay.earlier
    other = replace(first, earning_id=UUID(int=6))
    found = collected([first, other, replace(first, amount=Decimal(3)), replace(other, amount=Decimal(10))])
    assert [(each.earning_id, each.amount) for each in found] == [(first.earning_id, Decimal(-7))]
