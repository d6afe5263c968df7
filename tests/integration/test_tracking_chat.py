"""Messages to the robots of chat groups: real Postgres, and real servers that play the robots."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from services.tracking.definitions.service import PublishedDefinitions
from services.tracking.measure.progress.definitions import snapshot_of
from services.tracking.tell.channels.mailer import Mailer, MailSettings
from shared.contracts.alerts import Alert
from shared.contracts.goals import Subject
from shared.contracts.org import Identity, Membership, Person, Team
from shared.db.database import Scope
from shared.http.auth import Role
from tests.played.listener import Reply
from tests.played.mail_server import MailServer, mail_server
from tests.played.robots import DingTalk, Feishu, PlayedRobot, Slack, WeCom, Worktile
from tests.stories.outgoing import ALL_EARNINGS, ALL_PROGRESS, Caller, Json, Site, outgoing_site, progress

PATHS = {
    "feishu": "/open-apis/bot/v2/hook/token",
    "dingtalk": "/robot/send?access_token=token",
    "wecom": "/cgi-bin/webhook/send?key=token",
    "slack": "/services/T0/B0/token",
    "worktile": "/incoming/token",
}
ROBOTS = {"feishu": Feishu, "dingtalk": DingTalk, "wecom": WeCom, "slack": Slack, "worktile": Worktile}
ALERTS = [{"type": "attain.alert.v1"}]
ANA, BO, MANAGER, TEAM = uuid4(), uuid4(), uuid4(), uuid4()


@pytest.fixture
async def site(fresh_database: str) -> AsyncIterator[Site]:
    async with outgoing_site(fresh_database) as running:
        yield running


@pytest.fixture
def caller(site: Site) -> Caller:
    return Caller(site, Role.REVOPS)


async def subscribe(
    site: Site, caller: Caller, channel: str, events: object, **chat: object
) -> tuple[Json, PlayedRobot]:
    """A group with a robot, subscribed."""
    secret = chat.get("secret")
    robot = ROBOTS[channel](site.clock, secret if isinstance(secret, str) else None)
    site.subscriber.respond = robot.respond
    body = {"name": "Sales", "channel": channel, "url": site.subscriber.url + PATHS[channel], "events": events}
    made = await caller.ask("POST", "/v1/subscriptions", 201, {**body, "chat": chat})
    return made, robot


def alert(caller: Caller, version: int = 1, **fields: object) -> Alert:
    return Alert.model_validate(
        {
            "tenant_id": caller.tenant,
            "id": UUID(int=81),
            "version": version,
            "kind": "connection_health",
            "state": "raised",
            "severity": "broken",
            "subject_type": "connection",
            "subject_id": uuid4(),
            "check": "signatures",
            "title": "Salesforce",
            "sentence": "12 of 40 deliveries had no valid signature.",
            "raised_at": datetime(2026, 3, 1, tzinfo=UTC),
            "changed_at": datetime(2026, 3, 1, tzinfo=UTC),
            "cleared_at": None,
        }
        | fields
    )


@pytest.mark.parametrize("channel", ROBOTS)
async def test_a_group_reads_what_was_subscribed_to_signed_as_its_robot_wants(
    site: Site, caller: Caller, channel: str
) -> None:
    secret = {"secret": "SEC0001"} if channel in ("feishu", "dingtalk") else {}
    made, robot = await subscribe(site, caller, channel, ALERTS, **secret)
    assert made["secret"] is None
    await site.happen(alert(caller))
    assert await site.deliver() == 1
    [message] = robot.messages
    shown = json.dumps(message, ensure_ascii=False)
    assert "Salesforce: broken, raised" in shown
    assert "12 of 40 deliveries had no valid signature." in shown.replace("\\\\", "")
    [delivery] = await caller.log(made)
    assert (delivery["state"], delivery["attempts"][0]["result"]) == ("delivered", "sent")


async def test_an_address_is_shown_without_what_gives_access_and_the_secret_never(site: Site, caller: Caller) -> None:
    made, _ = await subscribe(site, caller, "dingtalk", ALERTS, secret="SEC0001")
    found = await caller.subscription(made)
    assert found["url"] == f"{site.subscriber.url}/…oken"
    assert found["chat"] == {"language": "en", "templates": [], "readers": [], "is_signed": True}
    assert "SEC0001" not in json.dumps([made, found])


async def test_a_group_is_told_of_a_goal_once_when_it_first_passes_and_of_every_change_of_an_alert(
    site: Site, caller: Caller
) -> None:
    reached = {"all": [{"field": "attainment", "op": "gte", "value": "1"}]}
    events = [{"type": "attain.progress.v1", "filter": reached}, *ALERTS]
    _, robot = await subscribe(site, caller, "slack", events)
    await site.happen(progress(caller, 99))
    await site.happen(progress(caller, 100), alert(caller, 1))
    await site.happen(progress(caller, 101), alert(caller, 2, state="cleared"))
    for _ in range(4):
        await site.deliver()
        site.clock.advance(seconds=1)
    titles = [str(message["text"]).split("\n")[0] for message in robot.messages]
    assert sorted(titles) == ["Bookings: 100 %", "Salesforce: broken, cleared", "Salesforce: broken, raised"]


async def test_no_robot_is_asked_more_often_than_it_allows(site: Site, caller: Caller) -> None:
    made, robot = await subscribe(site, caller, "dingtalk", ALERTS)
    await site.happen(*(alert(caller, 1, id=uuid4()) for _ in range(45)))
    for _ in range(45 * 3):
        await site.deliver()
        site.clock.advance(seconds=1)
    assert (len(robot.messages), robot.requests) == (45, 45)
    assert {delivery["state"] for delivery in await caller.log(made)} == {"delivered"}


@pytest.mark.parametrize("channel", ROBOTS)
async def test_what_is_refused_for_its_rate_is_sent_once_the_window_is_over(
    site: Site, caller: Caller, channel: str
) -> None:
    made, robot = await subscribe(site, caller, channel, ALERTS)
    robot.failing.append(robot.limited())
    await site.happen(alert(caller))
    assert await site.deliver() == 1
    assert await site.deliver() == 0
    site.clock.advance(seconds=700)
    assert await site.deliver() == 1
    assert len(robot.messages) == 1
    [delivery] = await caller.log(made)
    assert [attempt["result"] for attempt in delivery["attempts"]] == ["retry", "sent"]


async def test_what_may_have_arrived_is_not_sent_again_by_itself(site: Site, caller: Caller) -> None:
    made, robot = await subscribe(site, caller, "feishu", ALERTS)
    robot.failing.append(Reply(502, body=b"<html>bad gateway</html>"))
    await site.happen(alert(caller))
    await site.deliver()
    site.clock.advance(days=2)
    assert await site.deliver() == 0
    [delivery] = await caller.log(made)
    assert delivery["state"] == "unknown"
    path = f"/v1/subscriptions/{made['id']}/deliveries"
    since = {"since": "2026-01-01T00:00:00Z"}
    assert (await caller.ask("POST", f"{path}/replay", 202, since))["deliveries"] == 0
    await caller.ask("POST", f"{path}/{delivery['id']}/replay", 202)
    await site.deliver()
    assert len(robot.messages) == 1


async def test_a_time_out_behind_the_request_is_unknown_and_one_before_it_is_tried_again(
    site: Site, caller: Caller
) -> None:
    made, robot = await subscribe(site, caller, "wecom", ALERTS)
    site.subscriber.respond = lambda _: Reply(hang=True)
    site.deliverer = site.another_deliverer(timeout_seconds=0.3)
    await site.happen(alert(caller))
    await site.deliver()
    [delivery] = await caller.log(made)
    assert delivery["state"] == "unknown"
    closed = f"http://127.0.0.1:1{PATHS['wecom']}"
    site.subscriber.respond = robot.respond
    site.deliverer = site.another_deliverer()
    await caller.set(made, url=closed.replace(":1/", ":1025/"))
    site.clock.advance(seconds=5)
    await site.happen(alert(caller, 2))
    await site.deliver()
    last = (await caller.log(made))[-1]
    assert (last["state"], last["attempts"][0]["result"]) == ("waiting", "retry")
    await caller.set(made, url=site.subscriber.url + PATHS["wecom"])
    site.clock.advance(seconds=10)
    await site.deliver()
    assert len(robot.messages) == 1


async def test_a_card_that_is_refused_is_sent_once_more_as_text(site: Site, caller: Caller) -> None:
    made, robot = await subscribe(site, caller, "feishu", ALERTS)
    assert isinstance(robot, Feishu)
    robot.refuses_cards = True
    await site.happen(alert(caller))
    await site.deliver()
    site.clock.advance(seconds=1)
    await site.deliver()
    assert [message["msg_type"] for message in robot.messages] == ["text"]
    [delivery] = await caller.log(made)
    assert [attempt["result"] for attempt in delivery["attempts"]] == ["form_refused", "sent"]


async def test_a_robot_that_takes_nothing_pauses_its_subscription_and_what_waits_is_sent_when_it_is_mended(
    site: Site, caller: Caller
) -> None:
    made, robot = await subscribe(site, caller, "feishu", ALERTS, secret="right")
    robot.secret = "another"
    await site.happen(alert(caller))
    await site.deliver()
    paused = await caller.subscription(made)
    assert paused["status"] == "paused"
    assert paused["status_reason"] == (
        "The signature does not match: enter the bot's secret again, and see that the clock is right. Then set the "
        "status to active: what waits is sent."
    )
    await site.happen(alert(caller, 2))
    site.clock.advance(days=1)
    assert await site.deliver() == 0
    await caller.set(made, status="active", chat={"secret": "another"})
    for _ in range(3):
        await site.deliver()
        site.clock.advance(seconds=1)
    assert len(robot.messages) == 2
    assert {delivery["state"] for delivery in await caller.log(made)} == {"delivered"}


async def test_a_message_that_will_never_be_taken_fails_and_the_next_one_goes(site: Site, caller: Caller) -> None:
    made, robot = await subscribe(site, caller, "dingtalk", ALERTS)
    robot.failing.append(Reply(200, body=b'{"errcode":460101,"errmsg":"message too long"}'))
    await site.happen(alert(caller, 1), alert(caller, 2))
    for _ in range(4):
        await site.deliver()
        site.clock.advance(seconds=3)
    assert [delivery["state"] for delivery in await caller.log(made)] == ["failed", "delivered"]
    assert (await caller.subscription(made))["status"] == "active"
    assert len(robot.messages) == 1


async def test_nothing_leaves_that_somebody_who_reads_there_may_not_see(site: Site, caller: Caller) -> None:
    await company(site, caller)
    _, robot = await subscribe(site, caller, "slack", [*ALL_PROGRESS, *ALERTS], readers=[str(MANAGER)])
    await site.happen(
        progress(caller, 1, goal=uuid4(), name="Ana's", owner=Subject(kind="person", id=ANA)),
        progress(caller, 1, goal=uuid4(), name="Team's", owner=Subject(kind="team", id=TEAM)),
        progress(caller, 1, goal=uuid4(), name="Stranger's", owner=Subject(kind="person", id=uuid4())),
        alert(caller),
    )
    await settle(site)
    assert sorted(title(message) for message in robot.messages) == ["Ana's: 1 %", "Team's: 1 %"]
    _, robot = await subscribe(site, caller, "slack", ALL_PROGRESS, readers=[str(MANAGER), str(BO)])
    await site.happen(
        progress(caller, 1, goal=uuid4(), name="Ana's", owner=Subject(kind="person", id=ANA)),
        progress(caller, 1, goal=uuid4(), name="Bo's", owner=Subject(kind="person", id=BO)),
    )
    await settle(site)
    assert [title(message) for message in robot.messages].count("Bo's: 1 %") == 2
    assert [title(message) for message in robot.messages].count("Ana's: 1 %") == 1


async def test_an_owner_is_named_and_mentioned_as_the_chat_knows_the_person(site: Site, caller: Caller) -> None:
    await company(site, caller)
    _, robot = await subscribe(site, caller, "slack", ALL_PROGRESS, language="zh")
    await site.happen(progress(caller, 1, owner=Subject(kind="person", id=ANA)))
    await settle(site)
    [message] = robot.messages
    assert "负责人: Ana" in str(message["text"])
    assert str(message["text"]).endswith("<@U123>")


async def test_a_template_is_tried_before_it_is_used(site: Site, caller: Caller) -> None:
    template = {"title": "{goal} {attainment}", "text": "{value} of {target}", "facts": []}
    asked = {"channel": "feishu", "type": "attain.progress.v1", "template": template}
    preview = await caller.ask("POST", "/v1/subscriptions/preview", 200, asked)
    assert preview["text"] == "Darcel's bookings, Q1 100.5 %\n251,320.5 of 250,000"
    assert preview["request"]["card"]["header"]["title"]["content"] == "Darcel's bookings, Q1 100.5 %"
    made, robot = await subscribe(
        site, caller, "feishu", ALL_PROGRESS, templates=[{"type": "attain.progress.v1", **template}]
    )
    await site.happen(progress(caller, 7, value=Decimal("1234.5")))
    await settle(site)
    assert "1,234.5 of 100" in json.dumps(robot.messages)
    await caller.ask("POST", f"/v1/subscriptions/{made['id']}/test", 201)
    await settle(site)
    assert "This is a test." in json.dumps(robot.messages[-1])


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"events": ALL_EARNINGS}, "/events/0/type"),
        ({"chat": {"templates": [{"type": "attain.progress.v1", "title": "{gaol}"}]}}, "/chat/templates/0/title"),
        ({"chat": {"templates": [{"type": "attain.earning.v1", "title": "x"}]}}, "/chat/templates/0/type"),
        ({"channel": "webhook", "chat": {"language": "zh"}}, "/chat"),
        ({"channel": "telegram"}, "/channel"),
        ({"chat": {"language": "fr"}}, "/chat/language"),
    ],
)
async def test_what_a_group_cannot_be_told_is_refused_with_its_place(
    site: Site, caller: Caller, changes: dict[str, object], pointer: str
) -> None:
    body = {"name": "Sales", "channel": "wecom", "url": f"{site.subscriber.url}/x", "events": ALL_PROGRESS} | changes
    refused = await caller.ask("POST", "/v1/subscriptions", 422, body)
    assert [error["pointer"] for error in refused["errors"]] == [pointer]


async def test_there_is_no_secret_of_ours_to_rotate_and_a_webhook_has_no_group(site: Site, caller: Caller) -> None:
    made, _ = await subscribe(site, caller, "wecom", ALERTS)
    path = f"/v1/subscriptions/{made['id']}"
    refused = await caller.ask("POST", f"{path}/secrets", 409, {}, **{"if-match": '"1"'})
    assert refused["type"].endswith("signed_by_robot")
    refused = await caller.ask("PATCH", path, 422, {"events": ALL_EARNINGS}, **{"if-match": '"1"'})
    assert refused["errors"][0]["pointer"] == "/events/0/type"
    webhook = await caller.subscribe(site.subscriber.url, ALERTS)
    path = f"/v1/subscriptions/{webhook['id']}"
    refused = await caller.ask("PATCH", path, 422, {"chat": {"language": "zh"}}, **{"if-match": '"1"'})
    assert refused["errors"][0]["pointer"] == "/chat"


async def by_mail(site: Site, caller: Caller, server: MailServer, user: str = "", **chat: object) -> Json:
    """A group that gets e-mail, subscribed to alerts and progress, of an installation with this server."""
    address = SecretStr(f"smtp+plain://{user}127.0.0.1:{server.port}")
    site.mailer = Mailer(MailSettings(server=address, sender="attain@example.com"), timeout_seconds=2)
    site.deliverer = site.another_deliverer()
    url, events = "mailto:ana@example.com, bo@example.com", [*ALERTS, *ALL_PROGRESS]
    body = {"name": "Sales", "channel": "email", "url": url, "events": events, "chat": chat}
    return await caller.ask("POST", "/v1/subscriptions", 201, body)


async def test_a_letter_goes_to_every_address_once_and_shows_none_of_them(site: Site, caller: Caller) -> None:
    async with mail_server() as server:
        made = await by_mail(site, caller, server, language="zh")
        assert made["url"] == "mailto:ana@example.com, bo@example.com"
        await site.happen(progress(caller, 120, name="目标 <b>Q4</b>\r\nBcc: eve@example.com"))
        await settle(site)
        [(recipients, letter)] = server.letters
    assert recipients == ("ana@example.com", "bo@example.com")
    assert letter["Subject"] == "目标 <b>Q4</b> Bcc: eve@example.com：120 %"
    assert (letter["To"], letter["Bcc"]) == ("Sales:;", None)
    assert letter["From"] == "Attain <attain@example.com>"
    assert letter["Auto-Submitted"] == "auto-generated"
    plain, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert plain is not None and "完成: 120 / 100 USD" in plain.get_content()
    assert page is not None and "目标 &lt;b&gt;Q4&lt;/b&gt;" in page.get_content()
    [delivery] = await caller.log(made)
    assert delivery["state"] == "delivered"
    assert letter["Message-ID"] == f"<{UUID(delivery['id']).hex}@example.com>"


async def test_only_those_for_whom_a_letter_was_not_taken_for_now_get_it_again(site: Site, caller: Caller) -> None:
    async with mail_server() as server:
        server.refusals = {"bo@example.com": "451 try later"}
        made = await by_mail(site, caller, server)
        await site.happen(alert(caller))
        await site.deliver()
        [delivery] = await caller.log(made)
        assert (delivery["state"], delivery["attempts"][0]["left"]) == ("waiting", ["bo@example.com"])
        server.refusals = {}
        await settle(site)
        assert [recipients for recipients, _ in server.letters] == [("ana@example.com",), ("bo@example.com",)]
        assert len({letter["Message-ID"] for _, letter in server.letters}) == 1
        server.refusals = {"bo@example.com": "550 no such user"}
        await site.happen(alert(caller, 2))
        await settle(site)
        server.refusals["ana@example.com"] = "550 no such user"
        await site.happen(alert(caller, 3))
        await settle(site)
    assert [delivery["state"] for delivery in await caller.log(made)] == ["delivered", "delivered", "failed"]
    assert (await caller.log(made))[1]["attempts"][0]["answer"] == "bo@example.com: 550 no such user"


async def test_a_letter_that_may_have_been_taken_is_not_sent_again_and_one_that_was_not_is(
    site: Site, caller: Caller
) -> None:
    async with mail_server() as server:
        made = await by_mail(site, caller, server)
        server.answers.extend([None, "452 full", "250", "554 spam"])
        for version in (1, 2, 3):
            await site.happen(alert(caller, version))
            await settle(site)
        assert len(server.letters) == 1
    assert [delivery["state"] for delivery in await caller.log(made)] == ["unknown", "delivered", "failed"]
    await site.happen(alert(caller, 4))
    await site.deliver()
    last = (await caller.log(made))[-1]
    assert (last["state"], last["attempts"][0]["result"]) == ("waiting", "retry"), "the server is gone"


async def test_a_mail_server_that_does_not_know_us_pauses_and_without_one_nothing_is_lost(
    site: Site, caller: Caller
) -> None:
    async with mail_server(asks_who=True) as server:
        made = await by_mail(site, caller, server, "attain:wrong@")
        await site.happen(alert(caller))
        await site.deliver()
        assert (await caller.subscription(made))["status"] == "paused"
        site.mailer = Mailer(MailSettings())
        site.deliverer = site.another_deliverer()
        await caller.set(made, status="active")
        await site.deliver()
        assert "no mail server" in (await caller.subscription(made))["status_reason"]
        site.mailer = Mailer(MailSettings(server=SecretStr(f"smtp+plain://attain:right@127.0.0.1:{server.port}")))
        site.deliverer = site.another_deliverer()
        await caller.set(made, status="active")
        await settle(site)
        assert len(server.letters) == 1
        assert server.logins[-1] == "attain"


@pytest.mark.parametrize("url", ["https://example.com", "mailto:", "mailto:ana", "mailto:a@b,c@d@e", "mailto:a b@c"])
async def test_an_address_that_no_letter_can_go_to_is_refused(site: Site, caller: Caller, url: str) -> None:
    body = {"name": "Sales", "channel": "email", "url": url, "events": ALERTS}
    refused = await caller.ask("POST", "/v1/subscriptions", 422, body)
    assert refused["errors"][0]["pointer"] == "/url"


async def test_a_letter_is_tried_before_it_is_used(site: Site, caller: Caller) -> None:
    asked = {"channel": "email", "type": "attain.alert.v1"}
    preview = await caller.ask("POST", "/v1/subscriptions/preview", 200, asked)
    assert preview["request"]["subject"] == "Salesforce: broken, raised"
    assert "<h2" in preview["request"]["html"]


async def settle(site: Site) -> None:
    """All that waits is sent."""
    for _ in range(6):
        await site.deliver()
        site.clock.advance(seconds=3)


def title(message: object) -> str:
    assert isinstance(message, dict)
    return str(message["text"]).split("\n")[0]


async def company(site: Site, caller: Caller) -> None:
    """Ana and Bo are in the team that the manager manages; a chat knows Ana."""
    tenant, start = caller.tenant, "2020-01-01"
    definitions = [
        *(
            Person(tenant_id=tenant, id=each, version=1, name=name, email=None, active=True)
            for each, name in ((ANA, "Ana"), (BO, "Bo"), (MANAGER, "Mia"))
        ),
        Team(tenant_id=tenant, id=TEAM, version=1, name="West", parent_id=None, manager_id=MANAGER, deleted=False),
        *(
            Membership.model_validate(
                {
                    "tenant_id": tenant,
                    "id": uuid4(),
                    "version": 1,
                    "person_id": each,
                    "team_id": TEAM,
                    "start": start,
                    "end": None,
                    "deleted": False,
                }
            )
            for each in (ANA, BO)
        ),
        Identity(
            tenant_id=tenant,
            id=uuid4(),
            version=1,
            source="slack",
            external_user_id="U123",
            person_id=ANA,
            deleted=False,
        ),
    ]
    async with site.database.transaction(Scope.of(tenant)) as tx:
        await PublishedDefinitions().lock_revisions(tx, [tenant])
        await PublishedDefinitions().store_newest(tx, [snapshot_of(each) for each in definitions])
