"""The words of documents: every text there is, by its name, in one place for each language.

What is in braces is put in where the text is used; both languages put in the same.
"""

from dataclasses import dataclass

from shared.kernel.language import Language


@dataclass(frozen=True, slots=True)
class Texts:
    """All texts of one language."""

    language: Language
    page_words: tuple[str, str, str]

    statement: str
    unnamed: str
    employee_number: str
    person_id: str
    period: str
    as_of: str
    nothing_yet: str
    nothing_earned: str
    earned: str
    summary: str
    plan: str
    component: str
    quota: str
    counted: str
    attainment: str
    amount: str
    total: str
    by_the_ledger: str
    ledger_differs: str
    version: str
    pays_by: str
    tier: str
    tier_number: str
    tier_range: str
    tier_open: str
    tier_range_closed: str
    more_than: str
    gated_tier: str
    rate: str
    in_tier: str
    paid_in_tier: str
    before_rounding: str
    deals: str
    deal_count: str
    day: str
    deal: str
    customer: str
    crm_id: str
    share: str
    how: str
    rerated: str
    converted: str
    not_by_deals: str
    no_deals: str
    recalculating: str
    quota_gap: str
    no_terms: str
    tiers: str
    before: str
    rerated_before: str
    multiplier_of_credit: str
    multiplier_of_pay: str
    multiplied: str
    withheld: str
    left_out: str
    steps: str
    step: str
    asked: str
    asked_counts: str
    asked_counts_nowhere: str
    found: str
    expected: str
    remedy: str
    missing_deal: str
    statement_footer: str

    pay_statement: str
    pay_period: str
    cut_off: str
    takes_postings: str
    kept_digest: str
    kept_footer: str
    as_paid: str
    for_due: str
    for_earlier: str
    paid: str
    payment: str
    run_of: str
    run_reverses: str
    paid_on: str
    carried: str
    owed_of_draws: str
    held_back: str
    recalculated: str
    recalculated_words: str
    as_recalculated: str
    difference: str
    corrections: str
    cause: str
    origin: str
    posted_in: str
    approved_by: str
    paid_otherwise: str
    posted_later: str

    plan_document: str
    draft: str
    approved: str
    active: str
    status: str
    in_effect: str
    in_effect_until: str
    currency: str
    plan_period: str
    months: str
    quarters: str
    halves: str
    years: str
    approved_on: str
    terms_digest: str
    note: str
    what_counts: str
    what_counts_sum: str
    what_counts_deals: str
    every_deal: str
    deals_whose: str
    field_amount: str
    field_paid_amount: str
    field_invoiced_amount: str
    field_quantity: str
    by_closed: str
    by_created: str
    by_expected_close: str
    by_paid: str
    by_invoiced: str
    by_occurred: str
    credited: str
    to_owner: str
    to_split: str
    to_split_role: str
    to_rollup: str
    to_team: str
    allocation: str
    how_it_pays: str
    flat: str
    each: str
    marginal: str
    retroactive: str
    bounds: str
    by_period: str
    by_deal: str
    by_year: str
    gated: str
    marginal_from: str
    needs_quota: str
    examples: str
    example_total: str
    example_deal: str
    example_quota: str
    example_target: str
    example_second: str
    example_score: str
    example_weight: str
    example_share: str
    example_pays: str
    example_how: str
    example_note: str
    terms: str
    term: str
    value: str
    rules: str
    rules_none: str
    draw_recoverable: str
    draw_non_recoverable: str
    draw_forgiven: str
    draw_recovery: str
    draw_delay: str
    for_pay_periods: str
    guarantee: str
    holdback_paid: str
    holdback_periods: str
    cap_period: str
    cap_year: str
    cap_carried: str
    cap_forfeited: str
    clawback_full: str
    clawback_none: str
    clawback_part: str
    clawback_pro_rata: str
    clawback_pro_rata_field: str
    clawback_within: str
    negative_carry: str
    negative_forgive: str
    rounding: str
    personal: str
    personal_digest: str
    personal_changed: str
    days_on_plan: str
    open_end: str
    from_day: str
    until_day: str
    target_variable: str
    target_of: str
    by_goal: str
    ramp: str
    leave: str
    prorated: str
    acceptance: str
    acceptance_words: str
    accepted_by: str
    accepted_on: str
    plan_footer: str

    kinds: tuple[tuple[str, str], ...]
    """What each kind of component is called."""
    gaps: tuple[tuple[str, str], ...]
    """Why there is no quota, by its code."""

    lines: tuple[tuple[str, str], ...]
    """What each kind of line of a payout is called."""
    run_states: tuple[tuple[str, str], ...]
    """How far a payout run is."""
    causes: tuple[tuple[str, str], ...]
    """What made the ledger move."""

    def kind(self, name: str) -> str:
        """What a kind of component is called."""
        return dict(self.kinds).get(name, name)

    def gap(self, code: str) -> str:
        """Why there is no quota."""
        return dict(self.gaps).get(code, code)

    def line(self, kind: str) -> str:
        """What a kind of line of a payout is called."""
        return dict(self.lines).get(kind, kind)

    def run_state(self, status: str) -> str:
        """How far a payout run is."""
        return dict(self.run_states).get(status, status)

    def cause_of(self, kind: str) -> str:
        """What made the ledger move."""
        return dict(self.causes).get(kind, kind)
