"""Whatever a message says, each chat robot gets one within its limits, with nothing taken for markup."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracking.tell.channels.domain import dingtalk, feishu, slack, wecom, worktile
from services.tracking.tell.channels.domain.messages import Answered, Link, Mention, Message, Sending, Tone

AT = datetime(2026, 3, 31, tzinfo=UTC)
TEXTS = st.text(st.sampled_from('ab 目🎯<>&*_[]()#!`@|~"\\\n\x1f'), max_size=60)
LONG = st.builds(lambda text, times: text * times, TEXTS, st.sampled_from([1, 1, 30, 300]))
USERS = st.none() | st.from_regex(r"[A-Za-z0-9_.@-]{1,20}", fullmatch=True)
MESSAGES = st.builds(
    Message,
    LONG,
    st.lists(LONG, max_size=3).map(tuple),
    st.lists(st.tuples(TEXTS, LONG), max_size=4).map(tuple),
    st.none() | st.builds(Link, TEXTS, st.just("https://attain.example.com/goals/1?as=of")),
    st.lists(st.builds(Mention, TEXTS, USERS), max_size=2).map(tuple),
    st.sampled_from(Tone),
).map(Message.cleaned)
ANSWERS = st.builds(
    Answered,
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "x-ogw-ratelimit-reset"]), TEXTS),
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-2, 500_000) | TEXTS,
        lambda inner: st.dictionaries(
            st.sampled_from(["code", "errcode", "msg", "errmsg", "status", "punish", "wait", "ok", "error_code"]), inner
        ),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=60)
@given(MESSAGES, st.booleans())
def test_every_message_is_within_every_limit(message: Message, is_plain: bool) -> None:
    sending = Sending("https://chat.example.com/hook", "secret", AT, is_plain)
    assert len(feishu.asked(message, sending).body) <= 20_000
    assert len(dingtalk.asked(message, sending).body) <= 20_000
    body = json.loads(wecom.asked(message, sending).body)
    if is_plain:
        assert len(body["text"]["content"].encode()) <= 2048
    else:
        assert len(body["markdown"]["content"].encode()) <= 4096
    body = json.loads(slack.asked(message, sending).body)
    assert len(body["text"]) <= 40_000
    assert len(body.get("blocks", ())) <= 50
    for block in body.get("blocks", ()):
        match block["type"]:
            case "header":
                assert len(block["text"]["text"]) <= 150
            case "section":
                assert 0 < len(block["text"]["text"]) <= 3000
            case "actions":
                assert len(block["elements"][0]["text"]["text"]) <= 75
    assert len(worktile.asked(message, sending).body) <= 20_000


@settings(max_examples=60)
@given(MESSAGES)
def test_nothing_that_people_wrote_is_taken_for_markup(message: Message) -> None:
    """What is left without what the formatter itself writes has no character that begins markup."""
    sending = Sending("https://chat.example.com/hook", None, AT)
    found = json.loads(feishu.asked(message, sending).body)
    if "card" in found:
        text = found["card"]["body"]["elements"][0]["content"]
        assert not re.search(r"[<>\[\]`#]", re.sub(r"<at id=[\w.@-]+></at>|&#\d+;", "", text))
    text = json.loads(wecom.asked(message, sending).body)["markdown"]["content"]
    text = re.sub(r'<font color="\w+">|</font>|<@[\w.@-]+>', "", text)
    assert not re.search(r"[<>`]", re.sub(r"^> |^>", "", text, flags=re.MULTILINE))
    for block in json.loads(slack.asked(message, sending).body)["blocks"]:
        if block["type"] == "section":
            assert not re.search(r"[<>]", re.sub(r"<@[\w.@-]+>", "", block["text"]["text"]))


@pytest.mark.parametrize("channel", [feishu, dingtalk, wecom, slack, worktile])
@settings(max_examples=100)
@given(answered=ANSWERS)
def test_any_answer_is_judged(channel: object, answered: Answered) -> None:
    outcome = channel.judge(answered)  # type: ignore[attr-defined]
    assert outcome.retry_after is None or outcome.retry_after.total_seconds() >= 0
