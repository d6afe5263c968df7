"""The findings on the terminal."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from deploy.local.demo.closing import Check, ExplainedEarning, Findings
from deploy.local.demo.month import ClosedMonth
from deploy.local.demo.terminal import title
from services.incentives.earnings.schemas import EarningAnswer, LineAnswer, StatementAnswer
from services.tracking.intake.inbox.schemas import DeliveryDetail
from shared.kernel.attainment import shown
from shared.kernel.words import counted

_BODY_CHARACTERS: Final = 420
_PER_MILLE: Final = Decimal("0.001")


def print_findings(console: Console, findings: Findings) -> None:
    """The statement, one explanation, the quarantine."""
    statement = findings.statement
    console.print()
    console.print(title(f"Statement of {statement.person_name}, {statement.start} to {statement.end}"))
    console.print(_statement_table(statement))
    console.print()
    console.print(title("Where one of these lines comes from"))
    console.print(_explanation(findings.explained))
    console.print()
    console.print(title("In quarantine"))
    for delivery in findings.quarantined:
        console.print(_quarantined(delivery))


def print_month(console: Console, month: ClosedMonth) -> None:
    """The payout run as finance reads it, and where a statement was written."""
    console.print()
    console.print(title(f"The month from {month.period.start} is {month.period.state}: payout run {month.run.number}"))
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
    table.add_column("", ratio=1, no_wrap=True, min_width=24)
    for heading in ("earned", "carried", "net"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("to look at", no_wrap=True, style="yellow")
    for payout in sorted(month.payouts, key=lambda each: month.names[each.person_id]):
        table.add_row(
            month.names[payout.person_id],
            f"{payout.earned:,.2f}",
            f"{payout.carried:,.2f}",
            f"{payout.paid:,.2f}",
            ", ".join(payout.anomalies),
        )
    for total in month.run.totals:
        table.add_row(
            Text(f"Total in {total.currency}", style="bold"),
            "",
            "",
            Text(f"{total.amount:,.2f}", style="bold cyan"),
            "",
        )
    console.print(table)
    for left in month.run.to_nobody or ():
        share = "" if left.share is None else f", {left.share:.1%} of what was won"
        console.print(f" {left.amount:,.2f} {left.currency} credited to nobody in {counted(left.deals, 'deal')}{share}")
    console.print(f" statement   {month.statement}", soft_wrap=True, markup=False, highlight=False)


def print_checks(console: Console, results: Sequence[Check]) -> None:
    """One line for everything that had to be true."""
    console.print()
    console.print(title("Checked"))
    lines = Table.grid(padding=(0, 1))
    for result in results:
        lines.add_row("", Text("✓", style="green") if result.passed else Text("✗", style="bold red"), Text(result.text))
    console.print(lines)


def _statement_table(statement: StatementAnswer) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
    table.add_column("", ratio=1, no_wrap=True, min_width=24)
    table.add_column("won on", no_wrap=True, style="dim")
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("credited", justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True, style="dim")
    table.add_column("earned", justify="right", no_wrap=True)
    for component in sorted(statement.earnings, key=lambda each: (each.earning.quota is None, each.name)):
        earning = component.earning
        quota = "" if earning.quota is None else f", {_reached(earning)} of {earning.quota:,.0f}"
        table.add_row(
            Text(f"{component.name}{quota}", style="bold"),
            "",
            "",
            Text(f"{earning.measure:,.2f}", style="bold"),
            "",
            Text(f"{earning.earned:,.2f}", style="bold"),
        )
        for line in component.lines:
            table.add_row(
                f"  {line.name or line.external_id}",
                line.day.isoformat(),
                f"{line.percent.normalize():f}%",
                f"{line.value:,.2f}",
                _rates(line),
                f"{line.amount:,.2f}",
            )
    for total in statement.totals:
        table.add_row(Text("Total", style="bold"), "", "", "", "", Text(f"{total.earned:,.2f}", style="bold cyan"))
    return table


def _reached(earning: EarningAnswer) -> str:
    return f"{shown(earning.attainment, _PER_MILLE) or 0:.1%}"


def _rates(line: LineAnswer) -> str:
    return " + ".join(f"{part.rate:.0%}" for part in line.slices)


def _explanation(explained: ExplainedEarning) -> Tree:
    earning, line, delivery = explained.explanation.earning, explained.line, explained.delivery
    quota = "" if earning.quota is None else f", {_reached(earning)} of the quota of {earning.quota:,.0f}"
    tree = Tree(
        Text.assemble(
            (f"{earning.earned:,.2f} {earning.currency}", "bold cyan"),
            f" earned on {earning.component}: {earning.measure:,.2f} credited{quota}",
        ),
        guide_style="dim",
    )
    tiers = tree.add(Text("tiers", style="dim"))
    for tier in explained.explanation.tiers:
        tiers.add(f"tier {tier.tier}: {tier.value:,.2f} at {tier.rate:.0%} = {tier.amount:,.2f}")
    credit = tree.add(
        Text.assemble(
            (line.name or "", "bold"),
            f" brought in {line.amount:,.2f}: {line.percent.normalize():f}% of the deal, "
            f"from {line.before:,.2f} to {line.after:,.2f}",
        )
    )
    for part in line.slices:
        credit.add(f"{part.value:,.2f} in tier {part.tier} at {part.rate:.0%} = {part.amount:,.2f}")
    for posted in explained.posted:
        entries = ", ".join(f"{entry.account.partition(':')[0]} {entry.amount:+,.2f}" for entry in posted.entries)
        credit.add(f"ledger #{posted.sequence}: {entries}, hash {posted.hash[:16]}…")
    if line.deal_version is not None:
        version = credit.add(f"deal {line.external_id} as of {line.deal_version.modified_at:%Y-%m-%d %H:%M:%S} UTC")
        webhook = version.add(
            Text.assemble(
                "delivery ",
                (str(delivery.id), "bold"),
                f", received {delivery.received_at:%H:%M:%S.%f} as {_sender_id(delivery)}",
            )
        )
        webhook.add(Text(_excerpt(delivery.body or ""), style="dim"))
    return tree


def _quarantined(delivery: DeliveryDetail) -> Tree:
    tree = Tree(Text.assemble("delivery ", (str(delivery.id), "bold"), f", {delivery.state}"), guide_style="dim")
    if delivery.quarantine is not None:
        reason = delivery.quarantine
        tree.add(Text.assemble((reason.reason, "yellow"), f" at {reason.pointer}: {reason.detail}"))
    tree.add(Text(_excerpt(delivery.body or ""), style="dim"))
    tree.add(f"when the mapping can read it: POST /v1/deliveries/{delivery.id}/replay")
    return tree


def _sender_id(delivery: DeliveryDetail) -> str:
    if "webhook-id" in delivery.headers:
        return delivery.headers["webhook-id"]
    return str(json.loads(delivery.body or "{}").get("meta", {}).get("id", "Pipedrive event"))


def _excerpt(body: str) -> str:
    return body if len(body) <= _BODY_CHARACTERS else f"{body[:_BODY_CHARACTERS]}…"
