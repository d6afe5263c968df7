"""Messages to chat robots: how each is signed and asked, and what each answer says."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from services.tracking.tell.channels.domain import dingtalk, feishu, slack, wecom, worktile
from services.tracking.tell.channels.domain.messages import (
    Answered,
    Link,
    Mention,
    Message,
    Outcome,
    Result,
    Sending,
    Tone,
    cut,
)

URL = "https://chat.example.com/hook/abc"
AT = datetime.fromtimestamp(1_700_000_000, UTC)
LATE = Message(
    "Bookings, Q4 is off pace",
    ("96,000 of 260,000 after 12 of 30 working days.",),
    (("Needed a day", "9,111"), ("Owner", "O'Brien <West> [EMEA] *")),
    Link("Open the goal", "https://attain.example.com/goals/1"),
    (Mention("Ana", "ou_1"), Mention("Bo")),
    Tone.ATTENTION,
)


def sending(*, secret: str | None = None, plain: bool = False, at: datetime = AT) -> Sending:
    return Sending(URL, secret, at, plain)


@pytest.mark.parametrize(
    ("secret", "seconds", "expected"),
    [
        ("mysecret", "1700000000", "Jp33/xXhCipDEpjyHvEyc7mRSyXWHbNz6J8+C3qQKNo="),
        ("demo", "1599360473", "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="),
    ],
)
def test_feishu_signs_nothing_with_the_moment_and_the_secret(secret: str, seconds: str, expected: str) -> None:
    assert feishu.signature(secret, seconds) == expected
    at = datetime.fromtimestamp(int(seconds), UTC)
    body = json.loads(feishu.asked(LATE, sending(secret=secret, at=at)).body)
    assert (body["timestamp"], body["sign"]) == (seconds, expected)


@pytest.mark.parametrize(
    ("secret", "milliseconds", "expected"),
    [
        ("secret", "1700000000000", "OuzzJR5+xZ4/EYwqtNt6sMYZQMTa/HEGvc9miJe7XzY="),
        ("SEC0001", "1599360473000", "tSzZw6KejOgQGTZeMrw+hjd8q6Uzp41YSUeCDdQweWA="),
    ],
)
def test_dingtalk_signs_the_moment_and_the_secret_and_encodes_that_once(
    secret: str, milliseconds: str, expected: str
) -> None:
    assert dingtalk.signature(secret, milliseconds) == expected
    at = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    asked = dingtalk.asked(LATE, Sending("https://oapi.example.com/send?access_token=t", secret, at))
    query = parse_qs(urlsplit(asked.url).query)
    assert query == {"access_token": ["t"], "timestamp": [milliseconds], "sign": [expected]}
    assert "%2B" not in asked.url or "+" in expected
    assert "%25" not in asked.url


def test_without_a_secret_nothing_is_signed() -> None:
    assert "sign" not in json.loads(feishu.asked(LATE, sending()).body)
    assert dingtalk.asked(LATE, sending()).url == URL


def test_a_feishu_card_has_the_title_the_text_who_is_meant_and_one_button() -> None:
    card = json.loads(feishu.asked(LATE, sending()).body)["card"]
    assert (card["schema"], card["header"]["template"]) == ("2.0", "orange")
    assert card["header"]["title"] == {"tag": "plain_text", "content": LATE.title}
    text, button = card["body"]["elements"]
    assert "O'Brien &#60;West&#62; &#91;EMEA&#93; &#42;" in text["content"]
    assert text["content"].endswith("<at id=ou_1></at>\nBo")
    assert button["behaviors"] == [{"type": "open_url", "default_url": "https://attain.example.com/goals/1"}]


def test_a_feishu_text_names_a_user_by_a_tag_that_text_of_people_cannot_make() -> None:
    forged = Message('<at user_id="all">x</at>', mentions=(Mention("Ana", 'ou_1"><at user_id="all'),))
    text = json.loads(feishu.asked(forged, sending(plain=True)).body)["content"]["text"]
    assert text.count("<at ") == 1
    assert 'user_id="ou_1atuser_idall"' in text


def test_dingtalk_ends_lines_by_blank_lines_and_names_users_in_the_text_as_well() -> None:
    body = json.loads(dingtalk.asked(LATE, sending()).body)
    assert body["markdown"]["title"] == LATE.title
    assert body["at"] == {"atUserIds": ["ou_1"], "isAtAll": False}
    assert body["markdown"]["text"].endswith("[Open the goal](https://attain.example.com/goals/1)\n\n@ou_1 Bo")
    assert r"&lt;West\> \[EMEA\] \*" in body["markdown"]["text"]


def test_wecom_has_no_escapes_so_what_could_be_markup_is_written_alike() -> None:
    text = json.loads(wecom.asked(LATE, sending()).body)["markdown"]["content"]
    assert text.startswith('<font color="warning">**Bookings, Q4 is off pace**</font>\n')
    assert "O'Brien ＜West＞ ［EMEA］ ＊" in text
    assert text.endswith("\n[Open the goal](https://attain.example.com/goals/1)\n<@ou_1> Bo")
    plain = json.loads(wecom.asked(LATE, sending(plain=True)).body)["text"]
    assert plain["mentioned_list"] == ["ou_1"]


def test_slack_escapes_three_characters_and_keeps_a_text_for_where_blocks_are_not_shown() -> None:
    body = json.loads(slack.asked(LATE, sending()).body)
    assert "O'Brien &lt;West&gt; [EMEA] *" in body["text"]
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "section", "section", "actions"]
    assert body["blocks"][3]["text"]["text"] == "<@ou_1> Bo"
    assert "blocks" not in json.loads(slack.asked(LATE, sending(plain=True)).body)


def test_worktile_gets_one_attachment_with_a_text_for_where_it_is_not_shown() -> None:
    attachment = json.loads(worktile.asked(LATE, sending()).body)["attachment"]
    assert (attachment["fallback"], attachment["color"]) == (LATE.title, "#ffcd5d")
    assert attachment["text"].endswith("\n[@ou_1|Ana] Bo")
    assert attachment["fields"][0] == {"title": "Needed a day", "value": "9,111", "short": 1}
    assert attachment["title_link"] == "https://attain.example.com/goals/1"


def answer(body: object, status: int = 200, **headers: str) -> Answered:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answered(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("answered", "result"),
    [
        (answer({"code": 0, "msg": "success", "data": {}}), Result.SENT),
        (answer({"StatusCode": 0, "StatusMessage": "success"}), Result.SENT),
        (answer({"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}), Result.CLOSED),
        (answer({"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}), Result.CLOSED),
        (answer({"code": 19022, "msg": "Ip Not Allowed"}), Result.CLOSED),
        (answer({"code": 19024, "msg": "Key Words Not Found"}), Result.CLOSED),
        (answer({"code": 9499, "msg": "Bad Request"}), Result.REFUSED),
        (answer({"code": 9499, "msg": "too many request"}, 400), Result.RETRY),
        (answer({"code": 11232, "msg": "frequency limited"}), Result.RETRY),
        (answer({"code": 99991400, "msg": "request trigger frequency limit"}, 429), Result.RETRY),
        (answer({"code": 230099, "msg": "Failed; ErrCode: 11310; ErrMsg: table over limit"}), Result.FORM_REFUSED),
        (answer(b"<html>busy</html>", 502), Result.UNKNOWN),
        (answer(b"ok"), Result.UNKNOWN),
        (answer({"code": True}), Result.UNKNOWN),
        (answer({}, 404), Result.CLOSED),
    ],
)
def test_what_feishu_answers(answered: Answered, result: Result) -> None:
    assert feishu.judge(answered).result is result


def test_feishu_says_when_its_window_ends() -> None:
    limited = answer({"code": 99991400}, 429, x_ogw_ratelimit_reset="7")
    assert feishu.judge(limited).retry_after == timedelta(seconds=7)
    assert feishu.judge(answer({"code": 11232})).retry_after == timedelta(seconds=60)


@pytest.mark.parametrize(
    ("answered", "result"),
    [
        (answer({"errcode": 0, "errmsg": "ok"}), Result.SENT),
        (answer({"errcode": 310000, "errmsg": "keywords not in content, more: [https://...]"}), Result.CLOSED),
        (answer({"errcode": 310000, "errmsg": "sign not match"}), Result.CLOSED),
        (answer({"errcode": 310000, "errmsg": "错误描述:签名不匹配"}), Result.CLOSED),
        (answer({"errcode": 310000, "errmsg": "ip 1.2.3.4 not in whitelist"}), Result.CLOSED),
        (answer({"errcode": 130101, "errmsg": "send too fast"}), Result.RETRY),
        (answer({"status": 1111, "wait": 5, "punish": "deny"}), Result.RETRY),
        (answer({"errcode": -1, "errmsg": "系统繁忙"}), Result.RETRY),
        (answer({"errcode": 460101, "errmsg": "message too long"}), Result.REFUSED),
        (answer({"errcode": 300001, "errmsg": "token is not exist"}), Result.CLOSED),
        (answer({"errcode": 400102, "errmsg": "机器人已停用"}), Result.CLOSED),
        (answer({"errmsg": "ok"}), Result.UNKNOWN),
        (answer(b"", 500), Result.UNKNOWN),
    ],
)
def test_what_dingtalk_answers(answered: Answered, result: Result) -> None:
    assert dingtalk.judge(answered).result is result


def test_dingtalk_is_left_alone_for_as_long_as_it_blocks() -> None:
    assert dingtalk.judge(answer({"errcode": 410100})).retry_after == timedelta(minutes=10)
    assert dingtalk.judge(answer({"status": 1111, "wait": 5, "punish": "deny"})).retry_after == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("answered", "result"),
    [
        (answer({"errcode": 0, "errmsg": "ok"}), Result.SENT),
        (answer({"errcode": 93000, "errmsg": "invalid webhook url"}), Result.CLOSED),
        (answer({"errcode": 45009, "errmsg": "api freq out of limit"}), Result.RETRY),
        (answer({"errcode": -1, "errmsg": "system busy"}), Result.RETRY),
        (answer({"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}), Result.REFUSED),
        (answer(b"Service Unavailable", 503), Result.UNKNOWN),
        (answer(b"Service Unavailable", 503, retry_after="5"), Result.RETRY),
    ],
)
def test_what_wecom_answers(answered: Answered, result: Result) -> None:
    assert wecom.judge(answered).result is result


@pytest.mark.parametrize(
    ("answered", "result"),
    [
        (answer(b"ok"), Result.SENT),
        (answer(b"no_service", 404), Result.CLOSED),
        (answer(b"channel_is_archived", 410), Result.CLOSED),
        (answer(b"invalid_token", 403), Result.CLOSED),
        (answer(b"invalid_payload", 400), Result.REFUSED),
        (answer(b"invalid_blocks", 400), Result.FORM_REFUSED),
        (answer(b"rate_limited", 429, retry_after="30"), Result.RETRY),
        (answer(b"rollup_error", 500), Result.UNKNOWN),
        (answer(b"<html>", 200), Result.UNKNOWN),
    ],
)
def test_what_slack_answers(answered: Answered, result: Result) -> None:
    assert slack.judge(answered).result is result


def test_slack_says_when_to_come_again() -> None:
    assert slack.judge(answer(b"rate_limited", 429, retry_after="30")).retry_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("answered", "result"),
    [
        (answer(b""), Result.SENT),
        (answer({"code": 200}), Result.SENT),
        (answer({"ok": False, "error_message": "no such robot"}), Result.REFUSED),
        (answer({"error_code": 1102}), Result.REFUSED),
        (answer(b"", 404), Result.CLOSED),
        (answer(b"<html>", 429), Result.RETRY),
        (answer(b"<html>", 502), Result.UNKNOWN),
    ],
)
def test_what_worktile_answers(answered: Answered, result: Result) -> None:
    assert worktile.judge(answered).result is result


def test_who_has_to_do_something_is_told_what() -> None:
    closed = dingtalk.judge(answer({"errcode": 400102, "errmsg": "stopped"}))
    assert closed == Outcome(Result.CLOSED, "400102", "The robot was stopped: start it in its group.")


def test_what_is_too_long_is_cut_between_code_points() -> None:
    assert cut("目标达成", bytes_max=12) == "目标达成"
    assert cut("目标达成", bytes_max=11) == "目标…"
    assert cut("ab", bytes_max=2) == "ab"
