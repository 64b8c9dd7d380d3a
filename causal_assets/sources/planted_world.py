"""A seeded world of customers and campaigns whose true effects are known, delivered with the mess of real logs.

Every customer has baseline events. A program adds *extra* events, drawn for everybody and emitted only where the
program reached the customer, so that both potential outcomes are known and the truth is a plain mean of the extra
value over the study's population: exact for this very sample, without Monte-Carlo error. Extra events of different
programs never touch each other, so effects add up. Chance is a hash of (seed, purpose, customer, index): the same
parameters give the same bytes on any number of threads.

What the naive answer is, and why it is wrong (10,000 customers, seed 2026, dollars in 28 days, s.e. in brackets):

- personalised_home_page (randomised): buyers under the new page against *everybody else*: +37.5 (2.6), where the truth
  is +5.4 per enrolled customer, 8% of the generic arm. Only visitors are enrolled, and visitors buy more anyway. The
  difference between the two arms is right: +6.0 (3.3).
- winback_email (selected): mailed against not mailed: -23.9 (1.9), where the truth is +3.4 per mailed customer (ATT;
  ATO +4.2). The mail goes to customers who bought little in the 56 days before, and who would have gone on buying
  little. Purchases, revenue and region of those 56 days are all that the selection used.
- retargeting_ads (randomised, ghost ads): exposed against unexposed customers of the ad arm: +47.7 (4.0), where the
  truth is +7.4 per served customer (CACE; ITT +4.8). Whom the ad server reaches depends on a hidden trait that also
  drives purchases; the ghost arm's would-have-served log shows the comparable customers.
- referral_bonus (randomised in two stages, referrals instead of dollars): customers offered the bonus against everybody
  else: +0.094 (0.011), where the truth is +0.118 against nobody offered it (total effect). Neighbours hear of the bonus
  and refer more themselves: +0.043 each (spillover), which the comparison takes from the answer instead of adding it.
  Half of the neighbourhoods got no offer at all, so that this can be seen: offering it to half of a neighbourhood
  brings +0.081 per customer (overall effect).
- winback_offer (randomised, a reminder or a voucher by mail): customers sent the voucher against everybody else: -16.6
  (2.4), where the truth is +8.2 per lapsed customer (reminder +4.7). The draw is among customers with consent to e-mail
  who bought nothing for four weeks; those of them who were sent nothing are the comparison: +7.2 (2.5). Right, and
  still no answer to whom to send what: the reminder adds 26 for the 17% who used the app in those weeks, the voucher 30
  for the 28% who bought in the four weeks before, each nothing for all others; and of the 36% who did not even visit,
  6% unsubscribe because of the mail.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

FORMAT = 3  # raised when the same parameters would give other files, so that an old folder is built anew
MANIFEST = "_world.json"

FIRST_DAY = date(2025, 12, 29)  # a Monday
DAYS = 98
SCHEMA_CHANGE_WEEK = 7  # half-way, the web log gains `device`
LATEST_ARRIVAL = 10  # days after which no event is still under way
WINDOW = 28  # days over which every effect acts and is measured
ENROLMENT_DAYS = (56, 69)  # 2026-02-23 .. 2026-03-08: the home page enrols a customer at the first visit
WINBACK_DAY = 56  # 2026-02-23: the win-back e-mail is sent, and the win-back offers are drawn
LAPSED_DAYS = 28  # a customer with consent to e-mail who bought nothing in so many days is lapsed
OFFERS = ("reminder", "voucher")  # what a lapsed customer is sent; the third arm is sent nothing
ADS_DAY = 63  # 2026-03-02
ASSIGNMENT_WEEKS = (56, 63)  # the Mondays of the weeks in which customers are assigned
BONUS_DAY = 63  # 2026-03-02
BONUS_SATURATION = 0.5  # share of customers offered the bonus in half of the neighbourhoods; in the others nobody is
NEIGHBOURHOODS = 60  # a multiple of 20, so that each lies within one region
AD_AUDIENCE_DAYS = (42, 55)  # visitors of these days are retargeted: all before any program starts
NEWSLETTER_DAYS = (7, 35, 63, 91)
CUSTOMER_CHANGE_DAYS = (28, 56, 84)  # later, small deliveries of changed customers
LOYALTY_DAY = 56  # from this delivery on, customers carry `loyalty_tier`

WEEKDAY_ACTIVITY = (0.90, 0.90, 0.95, 1.00, 1.10, 1.20, 0.95)  # Monday first, mean 1
VISITS_PER_DAY = 0.087  # about 8.5 visits in 98 days, so that 100,000 customers make some 1.5 million events
CONVERSION = 0.22  # purchases per visit
UNSUBSCRIBES_PER_VISIT = 0.002
REFERRALS_PER_VISIT = 0.04
LOG_AMOUNT, AMOUNT_BY_VALUE, AMOUNT_SPREAD = 3.4, 0.2, 0.8  # lognormal dollars: a purchase's median is 30
FIXED = "DECIMAL(38, 12)"
ROW_GROUP = 20_480  # rows of a stage that one thread takes at a time: small, so that few customers suffice for all
USD_PER = {"USD": 1.00, "EUR": 1.10, "GBP": 1.25}  # the rates that staging uses; amounts are exact in both


@dataclass(frozen=True)
class Region:
    """A region's share of the customers, activity, money, clock, and pull (in logits) on the win-back selection."""

    name: str
    share: float
    activity: float
    currency: str
    time_zone: str
    utc_offset: int
    winback_logit: float


REGIONS = (
    Region("north", 0.30, 1.2, "USD", "America/New_York", -5, 0.4),
    Region("south", 0.30, 1.0, "USD", "America/Chicago", -6, 0.0),
    Region("east", 0.25, 0.9, "EUR", "Europe/Berlin", 1, -0.2),
    Region("west", 0.15, 0.8, "GBP", "Europe/London", 0, 0.2),
)

# What an additional, broken row looks like on each platform; `currency` passes the contract and fails in staging.
FAULTS = {
    "web": ("truncated", "text", "no id", "unknown event", "currency"),
    "app": ("negative", "no id", "unknown event"),
    "email": ("text", "no id", "unknown event"),
    "ad": ("truncated", "text", "no id", "unknown event"),
}


@dataclass(frozen=True, kw_only=True)
class PlantedWorld:
    """The parameters of one world; ``write`` puts its landing files on disk.

    Lifts are shares of a customer's own baseline and can only add events: ``home_conversion_lift`` purchases per
    baseline purchase (the direct part), ``home_visit_lift`` visits per baseline visit, which convert like any visit
    (the indirect part), ``home_unsubscribe_lift`` unsubscribes per baseline unsubscribe. The home page's lifts are
    multiplied by ``region_multipliers`` (order of ``REGIONS``) and ``week_multipliers`` (weeks 1-4 since
    assignment); ``spillover`` is the share of them that also reaches the generic arm. ``winback_lift`` and
    ``ads_lift`` are purchases per baseline purchase of a mailed and of a served customer. ``bonus_lift`` is referrals
    per baseline referral of a customer who was offered the bonus, ``bonus_spillover_lift`` of everybody, offered or
    not, where all neighbours are; where a share of them is, that share of it. ``reminder_lift`` is purchases per
    baseline purchase of a lapsed customer for each visit by app, up to two, in the four weeks before; ``voucher_lift``
    for each purchase, up to two, in the four weeks before those. Of the lapsed customers without a visit in the four
    weeks before, the share ``offer_unsubscribes`` unsubscribes because of the mail, whichever it is.

    Mess rates are shares of events (``restated``: of purchases; ``unattributed``: extra events of visitors without
    an identity per web event; ``bots``: bots per customer).

    Faults break a study: ``lost_assignments`` is the share of the personalised arm that the assignment log misses,
    ``crossed_assignments`` of enrolled customers that are logged in the other arm too, an hour later;
    ``favoured_buyers`` is how far the draw of the page leans towards those who buy more (at 1 the keenest always get
    it, the least keen never), ``hidden_interest`` the pull (in logits) of the hidden trait on the win-back selection.

    Raises:
        ValueError: a parameter outside its range; the message names it, what was given and what is allowed.
    """

    customers: int = 10_000
    seed: int = 2026
    home_conversion_lift: float = 0.05
    home_visit_lift: float = 0.03
    home_unsubscribe_lift: float = 0.02
    region_multipliers: tuple[float, ...] = (1.5, 1.0, 0.75, 0.5)
    week_multipliers: tuple[float, ...] = (1.4, 1.1, 0.8, 0.7)
    spillover: float = 0.0
    winback_lift: float = 0.15
    ads_lift: float = 0.12
    bonus_lift: float = 0.8
    bonus_spillover_lift: float = 0.8
    reminder_lift: float = 0.8
    voucher_lift: float = 0.8
    offer_unsubscribes: float = 0.06
    late: float = 0.03
    skewed: float = 0.01
    restated: float = 0.02
    duplicated: float = 0.01
    malformed: float = 0.004
    unattributed: float = 0.03
    bots: float = 0.001
    lost_assignments: float = 0.0
    crossed_assignments: float = 0.0
    favoured_buyers: float = 0.0
    hidden_interest: float = 0.0

    def __post_init__(self) -> None:
        _require("customers", self.customers, 100, 99_999_999)
        _require("seed", self.seed, 0, 2**31 - 1)
        offers = ("reminder_lift", "voucher_lift", "offer_unsubscribes")
        home_lifts = ("home_conversion_lift", "home_visit_lift", "home_unsubscribe_lift", "spillover")
        for name in (*home_lifts, "winback_lift", "ads_lift", "bonus_lift", "bonus_spillover_lift", *offers):
            _require(name, getattr(self, name), 0.0, 1.0)
        for name in ("late", "skewed", "restated", "duplicated", "malformed", "unattributed", "bots"):
            _require(name, getattr(self, name), 0.0, 0.3)
        for name in ("lost_assignments", "crossed_assignments", "favoured_buyers", "hidden_interest"):
            _require(name, getattr(self, name), 0.0, 1.0)
        for name, length in (("region_multipliers", len(REGIONS)), ("week_multipliers", WINDOW // 7)):
            values = getattr(self, name)
            if len(values) != length:
                raise ValueError(f"PlantedWorld.{name}: got {len(values)} values, allowed: exactly {length}")
            for position, value in enumerate(values):
                _require(f"{name}[{position}]", value, 0.0, 2.0)

    def write(self, folder: Path, connection: DuckDBPyConnection) -> dict[str, int]:
        """Write ``folder/<table>/<Monday of delivery>.<format>`` and return the rows written per table.

        The files are built beside ``folder`` and swapped in at the end. A folder that already holds this very world
        is left untouched; one that holds another world is replaced. Nothing is left behind in ``connection``.

        Raises:
            FileExistsError: ``folder`` holds files that are not a planted world.
        """
        parameters = json.loads(json.dumps(asdict(self) | {"format": FORMAT}))  # tuples as JSON has them
        manifest = folder / MANIFEST
        if manifest.exists():
            found = json.loads(manifest.read_text(encoding="utf-8"))
            if found["parameters"] == parameters:
                return found["rows"]
        elif folder.exists() and any(folder.iterdir()):
            raise FileExistsError(
                f"{folder}: got files without {MANIFEST}, allowed: a planted world or an empty folder"
            )

        building = folder.with_name(f".{folder.name}.building")
        _remove(building)
        rows = _build(self, building, connection)
        text = json.dumps({"parameters": parameters, "rows": rows}, indent=2)
        (building / MANIFEST).write_text(text, encoding="utf-8")
        _swap(building, folder)
        return rows


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"PlantedWorld.{name}: got {value}, allowed: {low} to {high}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _swap(building: Path, folder: Path) -> None:
    """Put ``building`` in the place of ``folder``; a kill leaves the old world, none, or the new one, never a mix."""
    old = folder.with_name(f".{folder.name}.old")
    _remove(old)
    if folder.exists():
        folder.replace(old)
    building.replace(folder)
    _remove(old)


def _text(value: object) -> str:
    """``value`` as an SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def _list(values: tuple[object, ...]) -> str:
    """``values`` as an SQL list literal."""
    return "[" + ", ".join(_text(v) if isinstance(v, str) else str(v) for v in values) + "]"


def _macros(seed: int) -> tuple[str, ...]:
    """SQL macros: chance, names, and the calendar. ``c`` is the customer's number, ``i`` an index.

    The combined hash is hashed again because the engine combines by XOR: without it, draws that differ in the index
    only would be functions of each other.
    """
    return (
        f"number(purpose, c, i) AS (hash(hash({seed}::BIGINT, purpose, c::BIGINT, i::BIGINT)) >> 1)::BIGINT",
        "uniform(purpose, c, i) AS ((number(purpose, c, i) >> 10)::DOUBLE + 0.5) / 9007199254740992",  # 53 bits
        "normal(purpose, c, i) AS sqrt(-2 * ln(uniform(purpose || ' radius', c, i)))"
        " * cos(2 * pi() * uniform(purpose || ' angle', c, i))",
        "pick(options, purpose, c, i) AS options[1 + floor(uniform(purpose, c, i) * len(options))::INT]",
        "name(purpose, c, i) AS format('{:016x}', number(purpose, c, i))",
        f"midnight(day) AS TIMESTAMP '{FIRST_DAY}' + to_days(day::INT)",
        "has_second_cookie(c) AS uniform('has second cookie', c, 0) < 0.25",
        "cookie(c, day) AS 'ck-' ||"
        " name('cookie', c, (has_second_cookie(c) AND uniform('second cookie', c, day) < 0.3)::INT)",
        "device(c) AS 'dv-' || name('device', c, 0)",
        "recipient(c) AS 'user-' || name('recipient', c, 0) || '@example.com'",
        "ad_user(c) AS 'ad-' || name('ad user', c, 0)",
        "customer_id(c) AS format('C{:07d}', c)",
        "changes(c, day) AS uniform('change', c, day) < 0.02",
        "new_consent(c, day) AS uniform('new consent', c, day) < 0.6",
    )


def _draw(purpose: str, probability: str) -> str:
    """SQL of a uniform draw in units of ``probability``; NULL, hence never below 1, where that is 0."""
    return f"uniform({_text(purpose)}, c, day) / nullif({probability}, 0)"


def _occurrences(rail: str, event: str, draw: str, minutes: int, source: str) -> str:
    """SQL of one kind of event hanging on the visits or mails in ``source``; local amounts are rounded to cents.

    ``draw`` is below 1 exactly when the event occurs, and below s when it does at intensity s.
    """
    spread = f"{AMOUNT_BY_VALUE} * value + {AMOUNT_SPREAD} * normal({_text(rail + ' amount')}, c, day)"
    amount = f"round(exp({LOG_AMOUNT} + {spread}) / usd_per, 2)::DECIMAL(18, 2)" if event == "purchase" else "NULL"
    return f"""
        SELECT number({_text(rail + " " + event)}, c, day) AS key, c, day, {_text(rail)} AS rail,
               {_text(event)} AS event, {draw} AS draw, happened_at + INTERVAL {minutes} MINUTE AS happened_at, on_app,
               {amount} AS amount, amount * usd_per AS usd
        FROM {source} WHERE draw < 1"""


def _build(world: PlantedWorld, folder: Path, connection: DuckDBPyConnection) -> dict[str, int]:
    """Write all tables under ``folder``; returns rows per table.

    Each stage is a Parquet file and a view over it, so that memory does not grow with the customers.
    """
    stages, deliveries = folder / "_stages", folder / "_stages" / "deliveries"
    stages.mkdir(parents=True)
    rows: Counter[str] = Counter()
    with connection.cursor() as work:  # its temporary views and macros end with it
        for macro in _macros(world.seed):
            work.execute(f"CREATE TEMP MACRO {macro}")
        work.execute(f"CREATE TEMP VIEW regions AS {_regions(world.region_multipliers)}")
        for stage, sql in _stages(world).items():
            file = _text(stages / f"{stage}.parquet")
            work.execute(f"COPY ({sql}) TO {file} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})")
            work.execute(f"CREATE TEMP VIEW {stage} AS FROM read_parquet({file})")
        partitioned = "FORMAT parquet, PARTITION_BY (platform, week)"
        work.execute(f"COPY ({_deliveries(world)}) TO {_text(deliveries)} ({partitioned})")
        for table, day, form, sql in (*_event_files(deliveries), *_other_files(world)):
            path = folder / table / f"{FIRST_DAY + timedelta(days=day)}.{form.suffix}"
            path.parent.mkdir(exist_ok=True)
            rows[table] += work.execute(f"COPY ({sql}) TO {_text(path)} ({form.options})").fetchall()[0][0]
    shutil.rmtree(stages)
    return dict(rows)


@dataclass(frozen=True)
class _Format:
    """A file name's ending and the options of COPY."""

    suffix: str
    options: str


PARQUET = _Format("parquet", "FORMAT parquet")
CSV = _Format("csv", "FORMAT csv, HEADER true")
# Lines are written as they are, because some must be broken: one column, no quoting, a delimiter that never occurs.
JSON_LINES = _Format("jsonl", r"FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER E'\x01'")
EVENT_FORMATS = {"web": JSON_LINES, "app": PARQUET, "email": CSV, "ad": JSON_LINES}


def _event_files(deliveries: Path) -> Iterator[tuple[str, int, _Format, str]]:
    """Table, day of delivery, format and ordered query of every weekly event file."""
    for platform, form in EVENT_FORMATS.items():
        for folder in sorted(deliveries.glob(f"platform={platform}/week=*")):
            week = int(folder.name.removeprefix("week="))
            yield f"{platform}_events", 7 * week, form, _event_rows(platform, week, folder)


def _other_files(world: PlantedWorld) -> Iterator[tuple[str, int, _Format, str]]:
    """Table, day of delivery, format and ordered query of every other file."""
    yield "customers", 0, CSV, CUSTOMERS
    for day in CUSTOMER_CHANGE_DAYS:
        yield "customers", day, CSV, _changed_customers(day)
    yield "identities", 0, PARQUET, IDENTITIES
    for day in ASSIGNMENT_WEEKS:
        yield "assignments", day, CSV, _assignments(day, world)
    for day in range(0, DAYS, 7):
        yield "ad_spend", day, CSV, _ad_spend(day)
    yield "truth", DAYS, PARQUET, _truth(world.spillover)
    yield "effects", DAYS, PARQUET, _expected_effects(world.offer_unsubscribes)


def _regions(multipliers: tuple[float, ...]) -> str:
    """Regions as a table; ``[low, high)`` is the range of the uniform draw that falls on the region."""
    low, rows = 0.0, []
    for region, multiplier in zip(REGIONS, multipliers, strict=True):
        rows.append(
            f"({_text(region.name)}, {low}, {low + region.share}, {region.activity}, {_text(region.currency)}, "
            f"{USD_PER[region.currency]}::DECIMAL(4, 2), {_text(region.time_zone)}, {region.utc_offset}, "
            f"{multiplier}::DOUBLE, {region.winback_logit}::DOUBLE)"
        )
        low = round(low + region.share, 9)
    columns = "region, low, high, activity, currency, usd_per, time_zone, utc_offset, multiplier, winback_logit"
    return f"FROM (VALUES {', '.join(rows)}) AS t({columns})"


def _stages(world: PlantedWorld) -> Mapping[str, str]:
    """The stages in order: who there is, what they do anyway, who gets what, what that adds, what is logged."""
    base = (
        ("base", "visit", "0.0", 0),
        ("base", "click", _draw("click", "0.15"), 1),
        ("base", "purchase", _draw("purchase", "conversion"), 5),
        ("base", "unsubscribe", _draw("unsubscribe", str(UNSUBSCRIBES_PER_VISIT)), 3),
        ("base", "referral", _draw("referral", str(REFERRALS_PER_VISIT)), 7),
    )
    home_visit = _draw("home visit", f"{world.home_visit_lift} * boost")
    home_visit_purchase = f"CASE WHEN uniform('home visit purchase', c, day) < conversion THEN {home_visit} END"
    home_purchase = _draw("home purchase", f"conversion * {world.home_conversion_lift} * boost")
    home_unsubscribe = _draw("home unsubscribe", f"{UNSUBSCRIBES_PER_VISIT * world.home_unsubscribe_lift} * boost")
    bonus_spillover = f"{REFERRALS_PER_VISIT * world.bonus_spillover_lift} * in_bonus"
    extra = (
        ("home_direct", "purchase", home_purchase, 9),
        ("home_direct", "unsubscribe", home_unsubscribe, 8),
        ("home_indirect", "visit", home_visit, 40),
        ("home_indirect", "purchase", home_visit_purchase, 45),
        ("winback", "purchase", _draw("winback", f"conversion * {world.winback_lift} * in_winback"), 13),
        ("ads", "purchase", _draw("ads", f"conversion * {world.ads_lift} * in_ads"), 17),
        ("bonus_direct", "referral", _draw("bonus", f"{REFERRALS_PER_VISIT * world.bonus_lift} * in_bonus"), 11),
        ("bonus_spillover", "referral", _draw("bonus spillover", bonus_spillover), 15),
        ("reminder", "purchase", _draw("reminder", "conversion * reminder * in_winback"), 19),
        ("voucher", "purchase", _draw("voucher", "conversion * voucher * in_winback"), 21),
    )
    # Who unsubscribes because of one offer does because of the other: one draw.
    unsubscribe = _draw("offer unsubscribe", str(world.offer_unsubscribes))
    return {
        "people": _people(world.customers),
        "visits": VISITS,
        "base_events": " UNION ALL ".join(_occurrences(*rail, source="visits") for rail in base),
        "treatments": _treatments(world),
        "open_visits": _open_visits(world.week_multipliers),
        "extra_events": " UNION ALL ".join(
            [
                *(_occurrences(*rail, source="open_visits") for rail in extra),
                *(_occurrences(offer, "unsubscribe", unsubscribe, 0, source=QUIET) for offer in OFFERS),
            ]
        ),
        "site_events": _site_events(world.spillover),
        "logged_events": _logged_events(world),
    }


def _people(customers: int) -> str:
    """One row per customer; ``value`` is the standard normal trait that drives visits, conversion and amounts."""
    return f"""
        SELECT c, region, usd_per, multiplier, winback_logit,
               normal('value', c, 0) AS value,
               least(0.9, {VISITS_PER_DAY} * activity * exp(0.8 * value - 0.32)) AS visit_rate,
               least(0.6, {CONVERSION} * exp(0.25 * value)) AS conversion,
               floor(uniform('region', c, 0) * {NEIGHBOURHOODS})::INT AS neighbourhood,
               uniform('app user', c, 0) < 0.35 AS uses_app,
               uniform('consent', c, 0) < 0.6 AS consent,
               pick(['18-29', '30-44', '45-59', '60+'], 'age', c, 0) AS age_band,
               midnight(0) - to_seconds(1 + floor(uniform('signup', c, 0) * 94608000)::BIGINT) AS signup_at
        FROM range(1, {customers} + 1) AS t(c) JOIN regions
          ON uniform('region', c, 0) >= low AND uniform('region', c, 0) < high"""


# One row per customer and day with a baseline visit, between 07:00 and 21:00, so that what hangs on it stays that day.
VISITS = f"""
    SELECT c, day, value, conversion, usd_per,
           midnight(day) + to_seconds(25200 + floor(uniform('time', c, day) * 50400)::BIGINT) AS happened_at,
           uses_app AND uniform('on app', c, day) < 0.6 AS on_app
    FROM people, range({DAYS}) AS t(day)
    WHERE uniform('visit', c, day) < visit_rate * {_list(WEEKDAY_ACTIVITY)}[1 + day % 7]"""


# Changes of consent that are known when the offers are drawn, the latest first.
CONSENT_CHANGES = " ".join(
    f"WHEN changes(c, {day}) THEN new_consent(c, {day})" for day in reversed(CUSTOMER_CHANGE_DAYS) if day <= WINBACK_DAY
)


def _treatments(world: PlantedWorld) -> str:
    """One row per customer. The win-back looks for lapsed customers: its selection uses the 56 days before only, all of
    it in the data. Whether an ad is served depends on the hidden trait, hence exposed and unexposed do not compare.
    ``reminder`` and ``voucher`` are the lifts of a lapsed customer's offers, made of those 56 days too."""
    keenness = "cume_dist() OVER (PARTITION BY home_at IS NULL ORDER BY value)" if world.favoured_buyers else "0.5"
    recent = f"day BETWEEN {WINBACK_DAY - LAPSED_DAYS} AND {WINBACK_DAY - 1}"
    return f"""
        WITH visited AS (
            SELECT c, min(happened_at) FILTER (day BETWEEN {ENROLMENT_DAYS[0]} AND {ENROLMENT_DAYS[1]}) AS home_at,
                   bool_or(day BETWEEN {AD_AUDIENCE_DAYS[0]} AND {AD_AUDIENCE_DAYS[1]}) AS in_audience,
                   count(*) FILTER ({recent}) AS recent_visits, count(*) FILTER ({recent} AND on_app) AS app_visits
            FROM visits GROUP BY c
        ), bought AS (
            SELECT c, count(*) AS purchases, sum(usd)::DOUBLE AS revenue,
                   count(*) FILTER ({recent}) AS recent_purchases
            FROM base_events WHERE event = 'purchase' AND day < {WINBACK_DAY} GROUP BY c
        ), saturations AS (
            SELECT n AS neighbourhood, row_number() OVER (ORDER BY number('saturated', n, 0)) > {NEIGHBOURHOODS // 2}
                   AS saturated
            FROM range({NEIGHBOURHOODS}) AS t(n)
        ), offers AS ( -- chance decides on neighbourhoods first, then on customers: exactly half of each
            SELECT c, CASE WHEN NOT saturated THEN 'control_area'
                           WHEN cume_dist() OVER (PARTITION BY neighbourhood ORDER BY number('offered', c, 0))
                                <= {BONUS_SATURATION} THEN 'bonus' ELSE 'neighbour' END AS bonus_arm
            FROM people JOIN saturations USING (neighbourhood)
        ), lapsed AS ( -- what they bought at all they bought before the recent days
            SELECT c, pick({_list(("no_mail", *OFFERS))}, 'offer arm', c, 0) AS offer_arm,
                   coalesce(recent_visits, 0) = 0 AS quiet,
                   {world.reminder_lift} * least(coalesce(app_visits, 0), 2) AS reminder,
                   {world.voucher_lift} * least(coalesce(purchases, 0), 2) AS voucher
            FROM people LEFT JOIN visited USING (c) LEFT JOIN bought USING (c)
            WHERE CASE {CONSENT_CHANGES} ELSE consent END AND coalesce(recent_purchases, 0) = 0
        )
        SELECT c, region, bonus_arm, offer_arm, quiet, reminder, voucher, home_at,
               date_diff('day', midnight(0), home_at) AS home_day,
               CASE WHEN home_at IS NOT NULL
                    THEN CASE WHEN uniform('home arm', c, 0) < 0.5 + {world.favoured_buyers} * (0.5 - {keenness})
                             THEN 'generic' ELSE 'personalised' END END AS home_arm,
               1 / (1 + exp(-(0.3 + winback_logit - 0.7 * ln(1 + coalesce(purchases, 0))
                              - 0.15 * ln(1 + coalesce(revenue, 0)) + {world.hidden_interest} * value))) AS propensity,
               uniform('mailed', c, 0) < propensity AS mailed,
               CASE WHEN in_audience THEN pick(['ad', 'ghost'], 'ad arm', c, 0) END AS ad_arm,
               coalesce(in_audience, false) AND uniform('served', c, 0) < 1 / (1 + exp(-0.4 - 0.9 * value)) AS served
        FROM people JOIN offers USING (c) LEFT JOIN visited USING (c) LEFT JOIN bought USING (c)
             LEFT JOIN lapsed USING (c)"""


# The offers' mails to lapsed customers who did not even visit of late.
QUIET = f"""(
    SELECT c, {WINBACK_DAY} AS day, midnight({WINBACK_DAY}) + INTERVAL 12 HOUR AS happened_at, false AS on_app,
           0.0 AS value, 1 AS usd_per
    FROM treatments WHERE quiet
)"""


def _open_visits(week_multipliers: tuple[float, ...]) -> str:
    """The visits on which some program could act, with the home page's multiplier, switches, and the offers' lifts."""
    week = f"CASE WHEN day - home_day BETWEEN 0 AND {WINDOW - 1} THEN 1 + (day - home_day) // 7 END"
    return f"""
        SELECT visits.*, coalesce(multiplier * {_list(week_multipliers)}[{week}], 0) AS boost,
               (day BETWEEN {WINBACK_DAY} AND {WINBACK_DAY + WINDOW - 1})::INT AS in_winback,
               (served AND day BETWEEN {ADS_DAY} AND {ADS_DAY + WINDOW - 1})::INT AS in_ads,
               (day BETWEEN {BONUS_DAY} AND {BONUS_DAY + WINDOW - 1})::INT AS in_bonus, reminder, voucher
        FROM visits JOIN people USING (c) JOIN treatments USING (c)
        WHERE day >= {min(ENROLMENT_DAYS[0], WINBACK_DAY, ADS_DAY, BONUS_DAY)}"""


def _site_events(spillover: float) -> str:
    """What really happens on site and app: the baseline, and the extra events of the realised arms."""
    columns = "key, c, day, rail, event, happened_at, on_app, amount"
    return f"""
        SELECT {columns} FROM base_events
        UNION ALL
        SELECT {columns} FROM extra_events JOIN treatments USING (c)
        WHERE CASE rail WHEN 'winback' THEN mailed WHEN 'ads' THEN ad_arm = 'ad'
                        WHEN 'reminder' THEN offer_arm = 'reminder' WHEN 'voucher' THEN offer_arm = 'voucher'
                        WHEN 'bonus_direct' THEN bonus_arm = 'bonus'
                        WHEN 'bonus_spillover' THEN bonus_arm <> 'control_area' AND draw < {BONUS_SATURATION}
                        ELSE draw < CASE home_arm WHEN 'personalised' THEN 1 ELSE {spillover} END END"""


def _logged_events(world: PlantedWorld) -> str:
    """Every platform's log before any mess; an account that is in no identity belongs to a stranger or a bot."""
    return f"""
        WITH acts AS (
            SELECT key, c, day, event, happened_at, amount,
                   CASE WHEN on_app AND event IN ('visit', 'purchase') THEN 'app' ELSE 'web' END AS platform
            FROM site_events
            UNION ALL {REFUNDS}
            UNION ALL {EMAILS}
            UNION ALL {ADS}
        ), known AS (
            SELECT key, platform, event, happened_at, amount, region,
                   CASE platform WHEN 'web' THEN cookie(c, day) WHEN 'app' THEN device(c)
                                 WHEN 'email' THEN recipient(c) ELSE ad_user(c) END AS account
            FROM acts JOIN people USING (c)
        )
        FROM known
        UNION ALL BY NAME
        SELECT * REPLACE (number('stranger event', key, 0) AS key,
                          'ck-' || name('stranger', key % {world.customers}, 0) AS account)
        FROM known WHERE platform = 'web' AND uniform('stranger', key, 0) < {world.unattributed}
        UNION ALL BY NAME
        SELECT number('bot visit', c, i) AS key, 'web' AS platform, 'visit' AS event, true AS is_bot,
               midnight(0) + to_seconds(floor(uniform('bot time', c, i) * {DAYS * 86400})::BIGINT) AS happened_at,
               'ck-' || name('bot', c, 0) AS account
        FROM range(ceil({world.bots} * {world.customers})::BIGINT) AS t(c), range(300) AS r(i)"""


REFUNDS = f"""
    SELECT number('refund', key, 0), c, day, 'refund', happened_at + to_days(3 + (key % 7)::INT), amount, 'web'
    FROM site_events
    WHERE event = 'purchase' AND NOT on_app AND uniform('refund', key, 0) < 0.04 AND day + 10 < {DAYS}"""

# A mail's or ad's link lands on a product page: a click and then a purchase, no visit of the home page.
EMAILS = f"""
    SELECT number('newsletter', c, day), c, day, 'impression', midnight(day) + INTERVAL 9 HOUR, NULL, 'email'
    FROM people, unnest({_list(NEWSLETTER_DAYS)}) AS t(day) WHERE consent
    UNION ALL
    SELECT number('newsletter click', c, day), c, day, 'click', midnight(day) + INTERVAL 11 HOUR, NULL, 'email'
    FROM people, unnest({_list(NEWSLETTER_DAYS)}) AS t(day)
    WHERE consent AND uniform('newsletter click', c, day) < 0.03
    UNION ALL
    SELECT number('winback mail', c, 0), c, {WINBACK_DAY}, 'impression', midnight({WINBACK_DAY}) + INTERVAL 6 HOUR,
           NULL, 'email'
    FROM treatments WHERE mailed
    UNION ALL
    SELECT number('winback unsubscribe', c, 0), c, {WINBACK_DAY}, 'unsubscribe',
           midnight({WINBACK_DAY}) + INTERVAL 12 HOUR, NULL, 'email'
    FROM treatments WHERE mailed AND uniform('winback unsubscribe', c, 0) < 0.004
    UNION ALL
    SELECT number('mail click', key, 0), c, day, 'click', happened_at - INTERVAL 2 MINUTE, NULL, 'email'
    FROM site_events WHERE rail IN ('winback', 'reminder', 'voucher') AND event = 'purchase'
    UNION ALL
    SELECT number('offer mail', c, 0), c, {WINBACK_DAY}, 'impression', midnight({WINBACK_DAY}) + INTERVAL 6 HOUR,
           NULL, 'email'
    FROM treatments WHERE offer_arm IN {OFFERS}"""

# Served users see one to three ads, a week apart; the control arm logs what it would have been served, at no cost.
ADS = f"""
    SELECT number('ad', c, i), c, {ADS_DAY} + 7 * i,
           CASE ad_arm WHEN 'ad' THEN 'impression' ELSE 'would_have_served' END,
           midnight({ADS_DAY} + 7 * i) + to_seconds(14400 + floor(uniform('ad time', c, i) * 7200)::BIGINT),
           CASE ad_arm WHEN 'ad' THEN round(0.004 + 0.016 * uniform('ad cost', c, i), 4)::DECIMAL(18, 4) END, 'ad'
    FROM treatments, range(3) AS t(i) WHERE served AND i <= floor(3 * uniform('ads', c, 0))
    UNION ALL
    SELECT number('ad click', key, 0), c, day, 'click', happened_at - INTERVAL 2 MINUTE, NULL, 'ad'
    FROM site_events WHERE rail = 'ads'"""


def _deliveries(world: PlantedWorld) -> str:
    """Every row that reaches a landing file, with its week: the last version of each event is the true one.

    Late, skewed and restated exclude each other: a skewed stamp is later than ``received_at``, which is then within
    half a minute of the true time, so that clamping to it keeps the day.
    """
    late, skewed = world.late, world.late + world.skewed
    faults = " ".join(f"WHEN {_text(p)} THEN pick({_list(kinds)}, 'fault', key, 0)" for p, kinds in FAULTS.items())
    return f"""
        WITH fated AS (
            SELECT *, uniform('fate', key, 0) AS fate, happened_at + to_seconds(1 + key % 30) AS prompt_at,
                   uniform('delay', key, 0) AS delay, fate < {late} AS late,
                   NOT late AND fate < {skewed} AS skewed,
                   event = 'purchase' AND fate >= {skewed} AND fate < {skewed + world.restated} AS restated
            FROM logged_events
        )
        SELECT * EXCLUDE (fate, prompt_at, delay, late, skewed, restated, happened_at, amount), version,
               CASE WHEN skewed THEN prompt_at + to_minutes(30 + floor(150 * delay)::INT)
                    ELSE happened_at END AS occurred_at,
               CASE WHEN late THEN prompt_at + to_seconds(floor(delay * {86400 * (LATEST_ARRIVAL - 1)})::INT + 43200)
                    WHEN restated AND version <> 'draft'
                    THEN prompt_at + to_seconds(86400 + floor(delay * 172800)::INT)
                    ELSE prompt_at END AS received_at,
               CASE WHEN version = 'draft' THEN round(amount * 1.5 + 10, 2) ELSE amount END AS amount,
               CASE WHEN version = 'broken' THEN CASE platform {faults} END ELSE '' END AS fault,
               date_diff('day', midnight(0), received_at) // 7 AS week
        FROM fated JOIN (VALUES ('true'), ('draft'), ('copy'), ('broken')) AS t(version)
          ON version = 'true' OR (version = 'draft' AND restated)
          OR (version = 'copy' AND uniform('copy', key, 0) < {world.duplicated})
          OR (version = 'broken' AND uniform('broken', key, 0) < {world.malformed})"""


def _event_rows(platform: str, week: int, folder: Path) -> str:
    """The rows of one platform's weekly file, in the order of their arrival."""
    rows = {"web": _web_rows(week), "app": APP_ROWS, "email": EMAIL_ROWS, "ad": AD_ROWS}[platform]
    # Equal rows of the order are exact copies of each other, so any order of them gives the same bytes.
    return f"""{rows}
        FROM read_parquet({_text(folder / "*.parquet")}, hive_partitioning = false) LEFT JOIN regions USING (region)
        ORDER BY received_at, key, version"""


def _iso(column: str) -> str:
    return f"strftime({column}, '%Y-%m-%dT%H:%M:%SZ')"


EVENT_ID = """CASE WHEN fault = 'no id' THEN NULL WHEN version = 'broken' THEN name('broken', key, 0)
    ELSE name('event', key, 0) END"""
EVENT = "CASE WHEN fault = 'unknown event' THEN 'heartbeat' WHEN fault = 'currency' THEN 'purchase' ELSE event END"
CURRENCY = "CASE WHEN amount IS NOT NULL THEN currency END"
JSON_AMOUNT = "CASE fault WHEN 'text' THEN to_json('n/a') ELSE to_json(amount::DOUBLE) END"
USER_AGENTS = _list(("Mozilla/5.0 (Windows NT 10.0)", "Mozilla/5.0 (Macintosh)", "Mozilla/5.0 (Linux; Android 15)"))


def _json_line(fields: Mapping[str, str]) -> str:
    packed = ", ".join(f"{name} := {sql}" for name, sql in fields.items())
    line = f"to_json(struct_pack({packed}))::VARCHAR"
    return f"SELECT CASE fault WHEN 'truncated' THEN left({line}, 40) ELSE {line} END AS line"


def _web_rows(week: int) -> str:
    account = "(hash(account) >> 1)::BIGINT"  # of the cookie, so that one browser stays one browser
    fields = {
        "event_id": EVENT_ID,
        "cookie_id": "account",
        "event": EVENT,
        "occurred_at": _iso("occurred_at"),
        "received_at": _iso("received_at"),
        "amount": f"CASE fault WHEN 'currency' THEN to_json(coalesce(amount::DOUBLE, 9.99)) ELSE {JSON_AMOUNT} END",
        "currency": f"CASE fault WHEN 'currency' THEN 'XXX' ELSE {CURRENCY} END",
        "user_agent": f"CASE WHEN is_bot THEN 'examplebot/2.1 (+https://example.com/bot)'"
        f" ELSE pick({USER_AGENTS}, 'user agent', {account}, 0) END",
    }
    if week >= SCHEMA_CHANGE_WEEK:
        fields["device"] = f"pick(['desktop', 'mobile', 'tablet'], 'device', {account}, 0)"
    return _json_line(fields)


APP_ROWS = f"""
    SELECT {EVENT_ID} AS event_id, account AS device_id, {EVENT} AS event,
           epoch_ms(occurred_at) AS occurred_ms, received_at,
           CASE fault WHEN 'negative' THEN -100 ELSE (amount * 100)::BIGINT END AS amount_cents,
           {CURRENCY} AS currency"""

# One branch per zone: the engine converts to a constant zone five times faster than to a column of zones.
LOCAL_TIMES = " ".join(
    f"WHEN {_text(r.name)} THEN timezone({_text(r.time_zone)}, timezone('UTC', occurred_at))" for r in REGIONS
)
EMAIL_ROWS = f"""
    SELECT {EVENT_ID} AS event_id,
           CASE key % 4 WHEN 0 THEN upper(account) WHEN 1 THEN 'User' || account[5:] ELSE account END AS recipient,
           {EVENT} AS event,
           CASE fault WHEN 'text' THEN 'yesterday' ELSE
           (CASE region {LOCAL_TIMES} END)::VARCHAR END AS occurred_local,
           time_zone, {_iso("received_at")} AS received_at"""

AD_ROWS = _json_line(
    {
        "event_id": EVENT_ID,
        "ad_user_id": "account",
        "event": EVENT,
        "occurred_at": "strftime(occurred_at + to_hours(utc_offset), '%Y-%m-%dT%H:%M:%S')"
        " || format('{:+03d}:00', utc_offset)",
        "received_at": _iso("received_at"),
        "campaign": "'retargeting_ads'",
        "cost": JSON_AMOUNT,
        "currency": CURRENCY,
    }
)

NEIGHBOURHOOD = "format('{}-{:02d}', region, neighbourhood) AS neighbourhood"
CUSTOMERS = f"""
    SELECT customer_id(c) AS customer_id, region, {NEIGHBOURHOOD}, age_band, {_iso("signup_at")} AS signup_at,
           consent AS consent_marketing, {_iso("signup_at")} AS updated_at
    FROM people ORDER BY c"""


def _changed_customers(day: int) -> str:
    """About 2% of the customers with consent as of the week before ``day``; regions and neighbourhoods never change."""
    tier = "pick(['bronze', 'silver', 'gold'], 'tier', c, 0)"
    return f"""
        SELECT customer_id(c) AS customer_id, region, {NEIGHBOURHOOD}, age_band, {_iso("signup_at")} AS signup_at,
               new_consent(c, {day}) AS consent_marketing,
               {_iso(f"midnight({day}) - to_seconds(1 + floor(uniform('change time', c, {day}) * 604799)::BIGINT)")}
               AS updated_at{f", {tier} AS loyalty_tier" if day >= LOYALTY_DAY else ""}
        FROM people WHERE changes(c, {day}) ORDER BY c"""


IDENTITIES = """
    SELECT platform, platform_id, customer_id(c) AS customer_id, signup_at AS linked_at
    FROM (
        SELECT 'web' AS platform, 'ck-' || name('cookie', c, 0) AS platform_id, c, signup_at FROM people
        UNION ALL SELECT 'web', 'ck-' || name('cookie', c, 1), c, signup_at FROM people WHERE has_second_cookie(c)
        UNION ALL SELECT 'app', device(c), c, signup_at FROM people WHERE uses_app
        UNION ALL SELECT 'email', recipient(c), c, signup_at FROM people
        UNION ALL SELECT 'ad', ad_user(c), c, signup_at FROM people
    ) ORDER BY platform, c, platform_id"""


def _assignments(day: int, world: PlantedWorld) -> str:
    other = "CASE home_arm WHEN 'generic' THEN 'personalised' ELSE 'generic' END"
    return f"""
        SELECT program, customer_id(c) AS customer_id, arm, {_iso("assigned_at")} AS assigned_at,
               {_iso("assigned_at + INTERVAL 1 MINUTE")} AS received_at
        FROM (
            SELECT 'personalised_home_page' AS program, c, home_arm AS arm, home_at AS assigned_at FROM treatments
            WHERE home_arm = 'generic' OR uniform('lost assignment', c, 0) >= {world.lost_assignments}
            UNION ALL
            SELECT 'personalised_home_page', c, {other}, home_at + INTERVAL 1 HOUR FROM treatments
            WHERE home_at IS NOT NULL AND uniform('crossed assignment', c, 0) < {world.crossed_assignments}
            UNION ALL
            SELECT 'winback_email', c, 'mailed', midnight({WINBACK_DAY}) FROM treatments WHERE mailed
            UNION ALL
            SELECT 'retargeting_ads', c, ad_arm, midnight({ADS_DAY}) FROM treatments
            UNION ALL
            SELECT 'winback_offer', c, offer_arm, midnight({WINBACK_DAY}) FROM treatments
            UNION ALL
            SELECT 'referral_bonus', c, bonus_arm, midnight({BONUS_DAY}) FROM treatments
        ) WHERE arm IS NOT NULL AND date_diff('day', midnight({day}), assigned_at) BETWEEN 0 AND 6
        ORDER BY program, assigned_at, c"""


def _ad_spend(day: int) -> str:
    """Spend of the week from ``day`` on by day, geo and channel; `retargeting` is the sum of the ad log's costs."""
    return f"""
        WITH spent AS (
            SELECT happened_at::DATE AS day, region AS geo, sum(amount) AS spend
            FROM logged_events WHERE platform = 'ad' AND event = 'impression' GROUP BY ALL
        )
        SELECT midnight(d)::DATE AS day, region AS geo, channel,
               CASE channel WHEN 'retargeting' THEN coalesce(spend, 0)
               ELSE round(200 * activity * {_list(WEEKDAY_ACTIVITY)}[1 + d % 7]
                          * (0.8 + 0.4 * uniform(channel || region, 0, d)), 2) END::DECIMAL(18, 4) AS spend, currency
        FROM regions CROSS JOIN range({day}, {day} + 7) AS t(d)
             CROSS JOIN (VALUES ('retargeting'), ('search'), ('social')) AS u(channel)
        LEFT JOIN spent ON spent.day = midnight(d)::DATE AND geo = region
        ORDER BY ALL"""


def _truth(spillover: float) -> str:
    """True effects, for everybody and by region.

    ``ATE`` compares everybody treated with nobody treated; ``direct`` and ``indirect`` sum to it; ``spillover`` is
    what leaks to the generic arm, so that the two arms differ by ``ATE - spillover``. ``ATO`` weighs a customer by
    e (1 - e) with the true propensity e (Li, Morgan & Zaslavsky 2018), ``CACE`` counts those an ad would be served.
    The bonus has the four effects of a two-stage experiment (Hudgens & Halloran 2008), means over all assignments that
    its draw could have given, against areas where nobody is offered it.
    """
    purchase, home = "event = 'purchase'", "rail IN ('home_direct', 'home_indirect')"
    revenue, purchases = ("revenue_28d", "usd", purchase), ("purchases_28d", "1", purchase)
    outcomes = (revenue, purchases, *((f"{e}s_28d", "1", f"event = '{e}'") for e in ("visit", "unsubscribe")))
    weeks = [
        (f"revenue_week_{week}", "usd", f"{purchase} AND (day - home_day) // 7 = {week - 1}")
        for week in range(1, WINDOW // 7 + 1)
    ]
    page = [
        *((*outcome, "ATE", home) for outcome in (*outcomes, *weeks)),
        *((*outcome, "spillover", f"{home} AND draw < {spillover}") for outcome in outcomes),
        *((*outcome, part, f"rail = 'home_{part}'") for outcome in outcomes for part in ("direct", "indirect")),
    ]
    mail = {estimand: [(*o, estimand, "rail = 'winback'") for o in (revenue, purchases)] for estimand in ("ATT", "ATO")}
    ads = {estimand: [(*revenue, estimand, "rail = 'ads'")] for estimand in ("ITT", "CACE")}
    direct, leak = "rail = 'bonus_direct'", f"rail = 'bonus_spillover' AND draw < {BONUS_SATURATION}"
    planned = f"CASE WHEN {direct} THEN {BONUS_SATURATION} ELSE 1 END"  # so many are offered it where it is on offer
    bonus = [
        ("referrals_28d", value, "event = 'referral'", f"{effect} at saturation {BONUS_SATURATION}", rails)
        for effect, value, rails in (
            ("direct effect", "1", direct),
            ("spillover on the untreated", "1", leak),
            ("total effect", "1", f"({direct} OR {leak})"),
            ("overall effect", planned, f"({direct} OR {leak})"),
        )
    ]
    offers = [(*outcome, f"ATE of {offer}", f"rail = '{offer}'") for offer in OFFERS for outcome in outcomes]
    populations = (
        ("personalised_home_page", "(home_arm IS NOT NULL)::INT", page),
        ("winback_email", "mailed::INT", mail["ATT"]),
        ("winback_email", "propensity * (1 - propensity)", mail["ATO"]),
        ("retargeting_ads", "(ad_arm IS NOT NULL)::INT", ads["ITT"]),
        ("retargeting_ads", "served::INT", ads["CACE"]),
        ("referral_bonus", "1", bonus),
        ("winback_offer", "(offer_arm IS NOT NULL)::INT", offers),
    )
    return " UNION ALL ".join(_effects(*p) for p in populations) + " ORDER BY ALL"


def _effects(study: str, weight: str, measures: list[tuple[str, str, str, str, str]]) -> str:
    """SQL of weighted means per customer; a measure is (outcome, value, events, estimand, rails).

    Fixed point adds exactly: a mean that lies halfway between two roundings must not depend on which thread adds first.
    """
    sums = ", ".join(
        f"round(coalesce(sum((weight * {value})::{FIXED}) FILTER ({events} AND {rails}), 0)::DOUBLE"
        f' / sum(weight_once::{FIXED})::DOUBLE, 9) AS "{outcome}|{estimand}"'
        for outcome, value, events, estimand, rails in measures
    )
    return f"""
        SELECT {_text(study)} AS study, split_part(measure, '|', 1) AS outcome, split_part(measure, '|', 2) AS estimand,
               segment, value
        FROM (UNPIVOT (
            WITH population AS (SELECT c, region, home_day, {weight} AS weight FROM treatments), stacked AS (
                SELECT region, weight AS weight_once FROM population
                UNION ALL BY NAME
                SELECT region, weight, home_day, day, rail, event, draw, usd FROM extra_events JOIN population USING (c)
            )
            SELECT coalesce('region=' || region, 'all') AS segment, {sums}
            FROM stacked GROUP BY GROUPING SETS ((), (region))
        ) ON COLUMNS(* EXCLUDE segment) INTO NAME measure VALUE value)"""


def _expected_effects(offer_unsubscribes: float) -> str:
    """What each offer is expected to add for each lapsed customer, given all that drives the customer.

    In expectation over the visits, purchases and amounts of the window; the truth holds the means of what these came
    to in this very sample.
    """
    visits = f"{WINDOW // 7} * list_sum([least(1, visit_rate * w) FOR w IN {_list(WEEKDAY_ACTIVITY)}])"
    amount = f"exp({LOG_AMOUNT} + {AMOUNT_BY_VALUE} * value + {AMOUNT_SPREAD**2 / 2})"
    return f"""
        WITH added AS (
            SELECT c, treatment,
                   {visits} * least(1, conversion * CASE treatment WHEN 'reminder' THEN reminder ELSE voucher END)
                   AS purchases_28d,
                   purchases_28d * {amount} AS revenue_28d,
                   CASE WHEN quiet THEN {offer_unsubscribes} ELSE 0 END AS unsubscribes_28d
            FROM treatments JOIN people USING (c), unnest({_list(OFFERS)}) AS t(treatment)
            WHERE offer_arm IS NOT NULL
        )
        SELECT 'winback_offer' AS study, customer_id(c) AS customer_id, treatment, outcome, round(effect, 9) AS effect
        FROM (UNPIVOT added ON purchases_28d, revenue_28d, unsubscribes_28d INTO NAME outcome VALUE effect)
        ORDER BY ALL"""
