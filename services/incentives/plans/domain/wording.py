"""What documents of terms say, and what two of them differ in, in words, in English and Chinese."""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from services.incentives.plans.domain.history import Json
from shared.kernel.deals import DEAL_FIELDS
from shared.kernel.filters import EVERYTHING, parse_filter
from shared.kernel.money import format_amount
from shared.kernel.reading import read_decimal
from shared.kernel.reasons import Words, condition_words

MEMBERS: Final[Mapping[str, Words]] = {
    "above": Words("above", "超过"),
    "aggregate": Words("what is counted", "统计方式"),
    "allocation_percent": Words("allocation in percent", "分配比例（%）"),
    "amount": Words("amount", "金额"),
    "as": Words("as", "作用于"),
    "at": Words("reached", "达成"),
    "at_least": Words("at least", "不低于"),
    "at_least_attainment": Words("at least, as a share of the quota", "达成率不低于"),
    "attainment": Words("share of the quota", "达成率"),
    "basis": Words("basis", "计算基础"),
    "bounds": Words("bound", "界限"),
    "by": Words("bounds counted in", "界限单位"),
    "cap": Words("cap of a person", "个人上限"),
    "caps": Words("caps", "上限"),
    "carry_excess": Words("excess is carried", "超出部分结转"),
    "cells": Words("row", "行"),
    "clawback": Words("clawback", "追回"),
    "components": Words("component", "组成部分"),
    "condition": Words("condition", "条件"),
    "counts": Words("what still counts", "超出部分的计入方式"),
    "crediting": Words("who is credited", "业绩归属"),
    "currency": Words("currency", "币种"),
    "date_field": Words("day that counts", "计入日期"),
    "days": Words("number of days", "天数"),
    "deal": Words("of one deal", "每笔商机"),
    "deductions": Words("order of deductions", "扣减顺序"),
    "depth": Words("levels of teams", "团队层级"),
    "draw": Words("draw", "预支"),
    "effective_from": Words("effective from", "生效日期"),
    "extrapolate": Words("the last line goes on", "末段继续延伸"),
    "factor": Words("factor", "系数"),
    "filter": Words("which deals count", "计入的商机"),
    "fixed_rates": Words("fixed exchange rates", "固定汇率"),
    "forgiven_after": Words("pay periods until forgiven", "免除前的发薪期数"),
    "from": Words("from", "起点"),
    "from_exclusive": Words("only above it", "不含起点"),
    "gate": Words("gate", "门槛条件"),
    "guarantee": Words("guarantee", "保底"),
    "holdback": Words("holdback", "暂扣"),
    "house_accounts": Words("house accounts", "公司账户"),
    "key": Words("key", "标识"),
    "kind": Words("kind", "类型"),
    "leaver": Words("deals of who left", "离职人员的商机"),
    "marginal_from": Words("marginal from", "分段起点"),
    "measure": Words("measure", "指标"),
    "minimum": Words("left by recovery at least", "收回后的最低支付"),
    "mode": Words("how it applies", "适用方式"),
    "months": Words("term in months", "期限（月）"),
    "multipliers": Words("multiplier", "乘数"),
    "name": Words("name", "名称"),
    "negative_balance": Words("negative balance", "负余额"),
    "note": Words("note", "备注"),
    "objectives": Words("objective", "目标项"),
    "of": Words("kind of pot", "奖金池类型"),
    "owner": Words("credited owner", "计入的负责人"),
    "pays": Words("pay", "支付"),
    "percent": Words("percent", "百分比"),
    "period": Words("pay period", "发薪期"),
    "periods": Words("number of pay periods", "发薪期数"),
    "points": Words("point", "节点"),
    "policy": Words("policy", "政策"),
    "pot": Words("pot", "奖金池"),
    "rate": Words("rate", "费率"),
    "rate_policy": Words("other currencies", "其他币种"),
    "record": Words("record", "记录"),
    "recovery_delay": Words("pay periods until recovery", "收回前的发薪期数"),
    "recovery_share": Words("most that recovery takes in percent", "收回上限（%）"),
    "release": Words("release", "释放"),
    "restart": Words("totals begin anew", "累计重新开始"),
    "role": Words("role", "角色"),
    "rounding": Words("rounding", "取整"),
    "rules": Words("rules", "规则"),
    "score_max": Words("highest score in percent", "最高评分（%）"),
    "second": Words("second measure", "第二指标"),
    "shape": Words("shape", "形式"),
    "target": Words("target", "目标金额"),
    "target_percent": Words("percent of the target variable", "目标浮动薪酬的百分比"),
    "term_field": Words("field with the term", "期限字段"),
    "threshold": Words("threshold", "起付线"),
    "tiers": Words("tier", "档位"),
    "times": Words("how often", "次数"),
    "to": Words("multiple of", "取整单位"),
    "unit": Words("unit", "单位"),
    "value_field": Words("field that is summed", "求和字段"),
    "weight": Words("weight in percent", "权重（%）"),
    "when": Words("when", "触发方式"),
    "windfall": Words("windfall", "大单规则"),
    "within_months": Words("no later than months", "最迟月数"),
    "year": Words("year", "年度"),
}
"""Every member of the JSON of terms."""
_VALUES: Final[Mapping[str, Words]] = {
    "after_periods": Words("after some pay periods", "若干发薪期后"),
    "attainment": Words("attainment", "达成率"),
    "bonus": Words("bonus", "奖金"),
    "capped": Words("capped", "封顶"),
    "carry": Words("carried", "结转"),
    "commission": Words("commission", "佣金"),
    "count": Words("number of deals", "商机数量"),
    "credit": Words("credit", "业绩"),
    "cumulative": Words("total of the period", "期间累计"),
    "curve": Words("curve", "曲线"),
    "deal_date": Words("at the rate of the day", "按当日汇率"),
    "deal_paid": Words("when the deal is paid", "商机回款后"),
    "each_deal": Words("each deal", "每笔商机"),
    "every": Words("every time", "每次"),
    "fixed": Words("at fixed rates", "按固定汇率"),
    "flat": Words("one rate", "单一费率"),
    "forgive": Words("forgiven", "免除"),
    "from_first": Words("everything", "全部"),
    "full": Words("all of it", "全部"),
    "house": Words("nobody", "公司账户"),
    "leaver": Words("who left", "离职人员"),
    "marginal": Words("each slice at its own rate", "分段计算"),
    "matrix": Words("matrix", "矩阵"),
    "milestone": Words("milestone", "里程碑"),
    "new_owner": Words("the new owner", "新负责人"),
    "non_recoverable": Words("not recovered", "不收回"),
    "none": Words("nothing", "无"),
    "now": Words("the owner now", "当前负责人"),
    "objective": Words("objectives", "目标考核"),
    "on_day": Words("the owner of the day", "计入当天的负责人"),
    "once": Words("once", "一次"),
    "only_above": Words("what is above", "超过部分"),
    "override": Words("override", "管理提成"),
    "owner": Words("the owner", "负责人"),
    "part": Words("a part", "部分"),
    "pay": Words("pay", "报酬"),
    "per_deal": Words("each deal by itself", "逐笔计算"),
    "per_unit": Words("each unit", "每单位"),
    "points": Words("a line through points", "节点连线"),
    "pool": Words("pool", "奖金池"),
    "pro_rata": Words("by time", "按时间比例"),
    "quantity": Words("units sold", "销售数量"),
    "recoverable": Words("recovered", "收回"),
    "recoverable_then_forgiven": Words("recovered, then forgiven", "先收回后免除"),
    "retroactive": Words("everything at the rate reached", "全额按达到的档位"),
    "reviewed": Words("nothing until reviewed", "复核前不计"),
    "rollup": Words("everybody below", "下级汇总"),
    "share": Words("a share", "部分计入"),
    "split": Words("the splits", "分成"),
    "team": Words("everybody in the person's teams", "本人团队"),
    "sum": Words("sum", "求和"),
    "tiers": Words("tiers", "分档"),
    "year_to_date": Words("total of the year", "年度累计"),
}
_NOTHING: Final = Words("nothing", "无")
_KEYED: Final = frozenset({"components", "objectives"})
_NUMBERED: Final = frozenset({"tiers", "points", "bounds", "cells", "multipliers"})
_OF_MONEY: Final = frozenset({"rate"})
_OF_ATTAINMENT: Final = frozenset({"from", "at", "marginal_from"})
_ALWAYS_ATTAINMENT: Final = frozenset({"attainment", "at_least_attainment"})


class _Place(NamedTuple):
    """Where in the terms something is, and how its numbers are read."""

    words: Words = Words("", "")
    pays_of_money: bool = False
    by_attainment: bool = False

    def below(self, en: str, zh: str) -> "_Place":
        """A part of it."""
        joined = Words(f"{self.words.en}, {en}", f"{self.words.zh}，{zh}") if self.words.en else Words(en, zh)
        return self._replace(words=joined)

    def reading(self, document: Mapping[str, Json]) -> "_Place":
        """As its own members say."""
        measure, scale = document.get("measure"), document.get("by")
        is_of_money = isinstance(measure, dict) and measure.get("currency") is not None
        return self._replace(
            pays_of_money=self.pays_of_money or is_of_money,
            by_attainment=self.by_attainment if scale is None else scale == "attainment",
        )


def members_in_words(terms: Mapping[str, Json], *, skipping: Collection[str] = ()) -> list[tuple[Words, Words]]:
    """What each member of a part of the terms is called and what it says; those that say nothing are left out."""
    place = _Place().reading(terms)
    return [
        (MEMBERS.get(name, Words(name, name)), said)
        for name, value in terms.items()
        if name not in skipping and (said := _member(place, name, value)) != _NOTHING
    ]


def changes_in_words(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[Words]:
    """A sentence for each thing that the terms `after` say otherwise than those `before`; none where they are equal."""
    return list(_of_members(_Place(), before, after))


def _of_members(place: _Place, before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Words]:
    here = place.reading({**before, **after})
    for name in dict.fromkeys([*before, *after]):
        yield from _of_member(here, name, before.get(name), after.get(name))


def _of_member(place: _Place, name: str, before: Json, after: Json) -> Iterator[Words]:
    if before == after:
        return
    label = MEMBERS.get(name, Words(name, name))
    below = place.below(*label)
    if name == "filter":
        yield _changed(below, _filter(before), _filter(after))
    elif name in _KEYED and (isinstance(before, list) or isinstance(after, list)):
        yield from _of_keyed(place, label, _keyed(before), _keyed(after))
    elif name in _NUMBERED and isinstance(before, list) and isinstance(after, list):
        yield from _of_numbered(place, name, label, before, after)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _of_members(below, before, after)
    else:
        yield _changed(below, _value(place, name, before), _value(place, name, after))


def _of_keyed(
    place: _Place, label: Words, before: Mapping[str, Mapping[str, Json]], after: Mapping[str, Mapping[str, Json]]
) -> Iterator[Words]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        name = (new or old or {}).get("name", key)
        below = place.below(f"{label.en} “{name}”", f"{label.zh}“{name}”")
        if old is None:
            yield Words(f"{_capital(below.words.en)}: is new.", f"{below.words.zh}：新增。")
        elif new is None:
            yield Words(f"{_capital(below.words.en)}: is gone.", f"{below.words.zh}：删除。")
        else:
            yield from _of_members(below, old, new)


def _of_numbered(place: _Place, name: str, label: Words, before: list[Json], after: list[Json]) -> Iterator[Words]:
    for index in range(max(len(before), len(after))):
        old = before[index] if index < len(before) else None
        new = after[index] if index < len(after) else None
        below = place.below(f"{label.en} {index + 1}", f"{label.zh} {index + 1}")
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _of_members(below, old, new)
        elif old != new:
            yield _changed(below, _value(place, name, old), _value(place, name, new))


def _changed(place: _Place, before: Words, after: Words) -> Words:
    at = _capital(place.words.en)
    if before == _NOTHING:
        return Words(f"{at}: {after.en} is new.", f"{place.words.zh}：新增 {after.zh}。")
    if after == _NOTHING:
        return Words(f"{at}: {before.en} is gone.", f"{place.words.zh}：取消 {before.zh}。")
    return Words(f"{at}: {before.en} became {after.en}.", f"{place.words.zh}：由 {before.zh} 改为 {after.zh}。")


def _value(place: _Place, name: str, value: Json) -> Words:
    if value is None or value == [] or value == {}:
        return _NOTHING
    if isinstance(value, bool):
        return Words("yes", "是") if value else Words("no", "否")
    if isinstance(value, dict):
        return _joined(
            [
                Words(f"{label.en} {shown.en}", f"{label.zh} {shown.zh}")
                for member, each in value.items()
                if each is not False and (shown := _member(place.reading(value), member, each)) != _NOTHING
                for label in [MEMBERS.get(member, Words(member, member))]
            ]
        )
    if isinstance(value, list):
        return _joined([_value(place, name, each) for each in value])
    text = str(value)
    is_share = (name in _OF_MONEY and place.pays_of_money) or (name in _OF_ATTAINMENT and place.by_attainment)
    is_share = is_share or name in _ALWAYS_ATTAINMENT
    if is_share and (number := read_decimal(text)) is not None:
        percent = f"{format_amount(number * Decimal(100))} %"
        return Words(percent, percent)
    return _VALUES.get(text, Words(text, text))


def _member(place: _Place, name: str, value: Json) -> Words:
    return _filter(value) if name == "filter" else _value(place, name, value)


def _filter(value: Json) -> Words:
    if value is None:
        return _NOTHING
    checked = parse_filter(value, DEAL_FIELDS)
    return Words("all deals", "所有商机") if checked == EVERYTHING else condition_words(checked)


def _joined(parts: list[Words]) -> Words:
    return Words(", ".join(part.en for part in parts), "、".join(part.zh for part in parts))


def _keyed(items: Json) -> dict[str, Mapping[str, Json]]:
    found = items if isinstance(items, list) else []
    return {str(item["key"]): item for item in found if isinstance(item, dict) and "key" in item}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
