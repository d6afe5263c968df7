"""Why a record does not count, in sentences that a salesperson understands, in English and Chinese.

The first true reason has a stable code, a sentence, what the record has beside what was expected, and what to do about
it. Goals and pay say it in the same words.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from shared.kernel.activities import ActivityFacts
from shared.kernel.deals import CUSTOM_FAMILY, DateField
from shared.kernel.filters import All, Condition, Filter, Operator, Value, conditions_of
from shared.kernel.measures import Measure
from shared.kernel.money import format_amount
from shared.kernel.parts import Part
from shared.kernel.periods import Period
from shared.kernel.records import RecordFacts


class Words(NamedTuple):
    """The same text in both languages."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known where a record was judged. Whatever does not bear on the reason is left out."""

    facts: RecordFacts | None = None
    measure: Measure | None = None
    failing: Filter | None = None
    """The part of the filter that does not match."""
    day: date | None = None
    """The day the record counts on."""
    period: Period | None = None
    """The days in question."""
    owner: str | None = None
    """The name of the person who owns the record, where an identity names them."""
    unknown_users: tuple[str, ...] = ()
    """The source's users on the record whom no identity names."""
    roles: tuple[str, ...] = ()
    """The roles that the person in question has on the record."""
    role: str | None = None
    """The role that is credited."""
    terms_start: date | None = None
    """The first day of the first terms."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record does not count. `found` and `expected` are left out where there is nothing to compare."""

    code: str
    sentence: Words
    remedy: Words
    found: str | None = None
    expected: Words | None = None


_FIELDS: Final[Mapping[str, Words]] = {
    "name": Words("name", "名称"),
    "amount": Words("amount", "金额"),
    "currency": Words("currency", "币种"),
    "home_currency": Words("home currency", "本位币"),
    "paid_amount": Words("paid amount", "回款金额"),
    "invoiced_amount": Words("invoiced amount", "开票金额"),
    "quantity": Words("quantity", "数量"),
    "status": Words("status", "状态"),
    "stage": Words("stage", "阶段"),
    "pipeline": Words("pipeline", "销售流程"),
    "probability": Words("probability", "赢率"),
    "type": Words("type", "类型"),
    "channel": Words("channel", "渠道"),
    "region": Words("region", "区域"),
    "source": Words("source", "来源系统"),
    "account_id": Words("account", "客户编号"),
    "account_name": Words("account name", "客户名称"),
    "expected_close_on": Words("expected close date", "预计成交日期"),
    "subject": Words("subject", "主题"),
    "outcome": Words("outcome", "结果"),
    "duration_seconds": Words("duration in seconds", "时长（秒）"),
    "deal_external_id": Words("deal", "所属商机"),
}
_DAYS: Final[Mapping[DateField, Words]] = {
    DateField.CLOSED: Words("close date", "成交日期"),
    DateField.CREATED: Words("creation date", "创建日期"),
    DateField.EXPECTED_CLOSE: Words("expected close date", "预计成交日期"),
    DateField.PAID: Words("payment", "回款"),
    DateField.INVOICED: Words("invoice", "开票"),
    DateField.OCCURRED: Words("time", "发生时间"),
}
_OPERATORS: Final[Mapping[Operator, Words]] = {
    Operator.EQ: Words("is {}", "为 {}"),
    Operator.NE: Words("is not {}", "不为 {}"),
    Operator.IN: Words("is one of {}", "为 {} 之一"),
    Operator.NOT_IN: Words("is none of {}", "不为 {} 中任何一个"),
    Operator.GT: Words("is more than {}", "大于 {}"),
    Operator.GTE: Words("is at least {}", "不小于 {}"),
    Operator.LT: Words("is less than {}", "小于 {}"),
    Operator.LTE: Words("is at most {}", "不大于 {}"),
    Operator.CONTAINS: Words("contains {}", "包含 {}"),
    Operator.STARTS_WITH: Words("starts with {}", "以 {} 开头"),
}
_CORRECT: Final = Words(
    "If that is wrong, correct it in the CRM: it then counts within moments.",
    "如果有误，请在 CRM 中更正，更正后随即计入。",
)
_MAP: Final = Words(
    "Ask an administrator to say who that is (POST /v1/identities of the goals service); past deals follow.",
    "请管理员为该用户指定人员（goals 服务的 POST /v1/identities），以往商机随之计入。",
)
_ASK: Final = Words(
    "If it should count, ask who writes the plan or the goal.", "如果应当计入，请联系制定方案或目标的人员。"
)


def reason_of(code: str, about: Circumstances) -> Reason:
    """The reason with this code. A code that has no sentence yet is its own."""
    make = _REASONS.get(code)
    return Reason(code, Words(code, code), _ASK) if make is None else make(code, about)


def unknown_users(parts: Iterable[tuple[Part, UUID | None]]) -> tuple[str, ...]:
    """The source's users among the parts whom no identity names: each part with the person it is of."""
    users = [part.share.user for part, person_id in parts if person_id is None]
    return tuple(dict.fromkeys(user.external_id for user in users if user is not None))


def condition_words(node: Filter) -> Words:
    """A filter as a person would say it."""
    if isinstance(node, Condition):
        field = _field_words(node.field)
        if node.op is Operator.EXISTS:
            return Words(
                f"{field.en} is there" if node.expected else f"{field.en} is missing",
                f"{field.zh}有值" if node.expected else f"{field.zh}为空",
            )
        operator = _OPERATORS[node.op]
        values = [_text(value) for value in node.values]
        return Words(
            f"{field.en} {operator.en.format(', '.join(values))}", f"{field.zh}{operator.zh.format('、'.join(values))}"
        )
    parts = [condition_words(member) for member in node.members]
    if isinstance(node, All):
        return Words(" and ".join(part.en for part in parts), "且".join(part.zh for part in parts))
    return Words(" or ".join(part.en for part in parts), "或".join(part.zh for part in parts))


def _noun(about: Circumstances) -> Words:
    is_activity = isinstance(about.facts, ActivityFacts)
    return Words("activity", "活动") if is_activity else Words("deal", "商机")


def _field_words(name: str) -> Words:
    if name.startswith(CUSTOM_FAMILY):
        custom = name[len(CUSTOM_FAMILY) :]
        return Words(f"custom field {custom}", f"自定义字段 {custom} ")
    return _FIELDS.get(name, Words(name, name))


def _text(value: Value | None) -> str:
    return format_amount(value) if isinstance(value, Decimal) else str(value)


def _found_in(node: Filter, about: Circumstances) -> str | None:
    """What the record has in the fields that the filter names."""
    if about.facts is None:
        return None
    values = {name: about.facts.value_of(name) for name in dict.fromkeys(each.field for each in conditions_of(node))}
    return "; ".join(f"{name}: {'—' if value is None else _text(value)}" for name, value in values.items())


def _gone(en: str, zh: str) -> Callable[[str, Circumstances], Reason]:
    def reason(code: str, about: Circumstances) -> Reason:
        noun = _noun(about)
        return Reason(code, Words(f"This {noun.en} {en} in the CRM.", f"该{noun.zh}已在 CRM 中{zh}。"), _CORRECT)

    return reason


def _filter(code: str, about: Circumstances) -> Reason:
    noun = _noun(about)
    if about.failing is None:
        sentence = Words(f"The {noun.en} is none of those that count.", f"该{noun.zh}不符合计入条件。")
        return Reason(code, sentence, _CORRECT)
    expected = condition_words(about.failing)
    plural = Words("deals", "商机") if noun.en == "deal" else Words("activities", "活动")
    sentence = Words(
        f"Only {plural.en} count whose {expected.en}; of this one that is not so.",
        f"只计入满足“{expected.zh}”的{plural.zh}，该{noun.zh}不满足。",
    )
    return Reason(code, sentence, _CORRECT, _found_in(about.failing, about), expected)


def _no_date(code: str, about: Circumstances) -> Reason:
    noun, field = _noun(about), DateField.CLOSED if about.measure is None else about.measure.date_field
    day = _DAYS[field]
    return Reason(
        code,
        Words(
            f"The {noun.en} has no {day.en}, by which it would count.", f"该{noun.zh}没有{day.zh}，无法确定计入日期。"
        ),
        Words(f"Enter the {day.en} in the CRM.", f"请在 CRM 中填写{day.zh}。"),
    )


def _no_value(code: str, about: Circumstances) -> Reason:
    noun = _noun(about)
    field = _field_words("amount" if about.measure is None else about.measure.value_field or "amount")
    return Reason(
        code,
        Words(
            f"The {noun.en} has no {field.en}, which is what counts.", f"该{noun.zh}没有{field.zh}，而计入的正是它。"
        ),
        Words(f"Enter the {field.en} in the CRM.", f"请在 CRM 中填写{field.zh}。"),
    )


def _no_currency(code: str, about: Circumstances) -> Reason:
    expected = None if about.measure is None or about.measure.currency is None else about.measure.currency
    return Reason(
        code,
        Words("The deal has an amount and no currency.", "该商机有金额但没有币种。"),
        Words(
            "Enter the currency in the CRM, or give the connection one for deals without (PATCH its mapping).",
            "请在 CRM 中填写币种，或在连接的映射中为没有币种的商机设定默认币种。",
        ),
        expected=None if expected is None else Words(expected, expected),
    )


def _currency(code: str, about: Circumstances) -> Reason:
    has = "—" if about.facts is None or about.facts.currency is None else about.facts.currency
    counts = "—" if about.measure is None or about.measure.currency is None else about.measure.currency
    if code == "currency_differs":
        sentence = Words(
            f"The deal is in {has}, and only deals in {counts} count.",
            f"该商机的币种为 {has}，只计入币种为 {counts} 的商机。",
        )
        return Reason(code, sentence, _ASK, has, Words(counts, counts))
    day = "" if about.day is None else f" {about.day}"
    sentence = Words(
        f"There is no exchange rate from {has} to {counts}{' for' if day else ''}{day}.",
        f"没有{day}从 {has} 到 {counts} 的汇率。",
    )
    remedy = Words(
        "Ask finance to state it (PUT /v1/exchange-rates of the goals service).",
        "请财务人员录入该汇率（goals 服务的 PUT /v1/exchange-rates）。",
    )
    return Reason(code, sentence, remedy, has, Words(counts, counts))


def _owner_missing(code: str, about: Circumstances) -> Reason:
    noun = _noun(about)
    return Reason(
        code,
        Words(f"The CRM names no owner of this {noun.en}.", f"CRM 中该{noun.zh}没有负责人。"),
        Words("Enter the owner in the CRM.", "请在 CRM 中填写负责人。"),
    )


def _owner_unmapped(code: str, about: Circumstances) -> Reason:
    noun = _noun(about)
    named = about.facts.owner_external_id if about.facts is not None else None
    users = ", ".join(about.unknown_users) or named or "—"
    return Reason(
        code,
        Words(
            f"It belongs to {users} in the CRM, and nobody has said who that is.",
            f"该{noun.zh}在 CRM 中属于 {users}，尚未指定对应的人员。",
        ),
        _MAP,
        users,
    )


def _split_unmapped(code: str, about: Circumstances) -> Reason:
    users = ", ".join(about.unknown_users) or "—"
    return Reason(
        code,
        Words(
            f"A part of the deal is of {users} in the CRM, and nobody has said who that is.",
            f"该商机的一部分在 CRM 中属于 {users}，尚未指定对应的人员。",
        ),
        _MAP,
        users,
    )


def _role(code: str, about: Circumstances) -> Reason:
    roles, role = ", ".join(about.roles) or "—", about.role or "—"
    return Reason(
        code,
        Words(
            f"The share of the deal has the role {roles}, and the role {role} is credited.",
            f"该份额的角色为 {roles}，而计入的角色是 {role}。",
        ),
        Words(
            "If the roles mean the same, ask who writes the plan to use the CRM's spelling.",
            "如果两者含义相同，请方案制定人员采用 CRM 中的写法。",
        ),
        roles,
        Words(role, role),
    )


def _not_member(code: str, about: Circumstances) -> Reason:
    owner, day = about.owner or "the owner", about.day or "—"
    return Reason(
        code,
        Words(
            f"On {day} {owner} was not the person of this goal, nor in its team.",
            f"{day} 当天，{about.owner or '负责人'} 既不是该目标的人员，也不在其团队中。",
        ),
        Words(
            "If that is wrong, correct the owner in the CRM or the membership in the goals service.",
            "如果有误，请更正 CRM 中的负责人，或 goals 服务中的团队成员关系。",
        ),
        about.owner,
    )


def _not_credited(en: str, zh: str) -> Callable[[str, Circumstances], Reason]:
    def reason(code: str, about: Circumstances) -> Reason:
        named = about.facts.owner_external_id if about.facts is not None else None
        owner = about.owner or named or "—"
        return Reason(code, Words(f"The deal is {owner}'s, and {en}.", f"该商机属于 {owner}，{zh}。"), _CORRECT, owner)

    return reason


def _outside(code: str, about: Circumstances) -> Reason:
    noun, day = _noun(about), about.day or "—"
    days = Words("—", "—")
    if about.period is not None:
        days = Words(
            f"{about.period.start} up to, not including, {about.period.end}",
            f"{about.period.start} 至 {about.period.end}（不含）",
        )
    return Reason(
        code,
        Words(
            f"The {noun.en} counts on {day}, outside {days.en}.",
            f"该{noun.zh}计入日期为 {day}，不在 {days.zh} 内。",
        ),
        _CORRECT,
        None if about.day is None else str(about.day),
        days,
    )


def _plain(sentence: Words, remedy: Words) -> Callable[[str, Circumstances], Reason]:
    return lambda code, _: Reason(code, sentence, remedy)


def _terms_start_later(code: str, about: Circumstances) -> Reason:
    start = "—" if about.terms_start is None else str(about.terms_start)
    return Reason(
        code,
        Words(
            f"The plan's first terms start on {start}, after the day the deal counts on.",
            f"方案的首个条款自 {start} 起生效，晚于该商机的计入日期。",
        ),
        _ASK,
        None if about.day is None else str(about.day),
        Words(f"{start} or a later day", f"{start} 或之后的日期"),
    )


_REASONS: Final[Mapping[str, Callable[[str, Circumstances], Reason]]] = {
    "deleted": _gone("was deleted", "被删除"),
    "merged": _gone("was merged into another", "被合并到另一条"),
    "filter_not_met": _filter,
    "no_date": _no_date,
    "no_value": _no_value,
    "no_currency": _no_currency,
    "currency_differs": _currency,
    "no_exchange_rate": _currency,
    "owner_missing": _owner_missing,
    "owner_unmapped": _owner_unmapped,
    "split_user_unmapped": _split_unmapped,
    "other_role": _role,
    "no_share": _plain(
        Words("The share of the deal is 0 %.", "该份额为 0%。"),
        Words("If that is wrong, correct the split in the CRM.", "如果有误，请在 CRM 中更正分成比例。"),
    ),
    "owner_not_member_on_date": _not_member,
    "not_owner": _not_credited("only its owner is credited", "只有负责人计入"),
    "not_on_split": _not_credited("this person has no share of it", "此人没有其中的份额"),
    "not_in_subtree": _not_credited(
        "nobody who has a share of it was in a team of this manager on that day",
        "当天拥有份额的人员均不在该经理的团队中",
    ),
    "not_in_team": _not_credited(
        "nobody who has a share of it was in a team of this person on that day", "当天拥有份额的人员均不在此人的团队中"
    ),
    "not_on_plan": _not_credited(
        "nobody who has a share of it was on the plan on that day", "当天拥有份额的人员均不在该方案中"
    ),
    "outside_period": _outside,
    "deal_unknown": _plain(
        Words("No version of such a deal has arrived.", "尚未收到该商机的任何版本。"),
        Words("See whether the CRM's connection is healthy.", "请检查 CRM 连接是否正常。"),
    ),
    "owned_by_another_on_day": _plain(
        Words(
            "On the day the deal counts it belonged to somebody else, and the plan credits whoever owned it then.",
            "该商机在计入当天属于其他人员，而方案计入的是当天的负责人。",
        ),
        _CORRECT,
    ),
    "leavers_deal": _plain(
        Words(
            "The deal was taken over from somebody who left, and for some time after the plan credits who left.",
            "该商机由已离职的人员移交而来，方案在约定期限内仍将其计入离职人员。",
        ),
        _ASK,
    ),
    "house_account": _plain(
        Words(
            "The deal is on a house account: nobody is paid on it.",
            "该商机属于公司账户，不计入任何人员的佣金。",
        ),
        _ASK,
    ),
    "no_assignment": _plain(
        Words("The person was on no such plan on the day the deal counts.", "该商机计入当天，此人不在该方案中。"), _ASK
    ),
    "no_plan_version": _plain(
        Words("The plan has no active terms for that period.", "该方案在该期间没有生效的条款。"), _ASK
    ),
    "terms_start_later": _terms_start_later,
    "no_whole_period": _plain(
        Words("No whole period of the plan lies within the days asked for.", "所查询的日期内没有该方案的完整期间。"),
        Words("Ask for the days of a whole period.", "请查询完整的期间。"),
    ),
    "no_component": _plain(
        Words("The terms in force for that period have no such component.", "该期间生效的条款没有此项。"), _ASK
    ),
}
CODES: Final = frozenset(_REASONS)
"""Every code there is a sentence for."""
