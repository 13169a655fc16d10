"""Which values look like identifiers, whatever their key: the second table that a privacy officer reviews.

Every pattern is matched on text in Unicode's NFKC form with all dashes made plain and invisible characters removed, so that
look-alike characters don't hide a number. A fact whose value matches is left out whole; in free text the match is cut out.
No rule can know every name: `docs/notes.md` says what these rules can't see.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ._names import GIVEN_NAMES
from .kinds import ADDRESS, BIRTH, CLINICIAN, DATE, INSTITUTION, LONG_NUMBER, NATIONAL, ONLINE, PERSON, PHONE, RECORD


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Text that is taken for an identifier.

    Attributes:
        kind: What the user is told was left out.
        reason: Why, and what the pattern must not catch.
        pattern: The text.
    """

    kind: str
    reason: str
    pattern: re.Pattern[str]


_MONTH = (
    r"(?:jan(?:uar[y]?|vier)?|feb(?:ruar[y]?)?|f[eé]vr(?:ier)?|mar(?:ch|s|zo)?|m[aä]rz|apr(?:il|ile)?|avril|may|mai|mayo|"
    r"june?|juni|juin|july?|juli|juillet|aug(?:ust)?|ao[uû]t|agosto|sept?(?:ember|embre)?|o[ck]t(?:ober|obre|ubre)?|"
    r"nov(?:ember|embre)?|de[cz](?:ember|embre)?|d[eé]c(?:embre)?|enero|febrero|abril|junio|julio|septiembre|noviembre|"
    r"diciembre|gennaio|febbraio|maggio|giugno|luglio|settembre|ottobre|dicembre)"
)
# Months that can't be read as another word, for dates without a year ("5 may show", "SOX2 OCT4").
_CLEAR_MONTH = r"(?:january|february|april|june|july|august|september|october|november|december|januar|februar|juni|juli)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH_NUMBER = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:1[89]|20|21)\d{2}"
_TIME = r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?Z|[+-]\d{2}:?\d{2})?)?"
_CAPITAL = r"[A-ZÀ-ÖØ-ÞŁŚŠŽ]"
_SURNAME = rf"(?:(?:van|von|de|der|den|del|della|di|da|la|le|al|el|bin|ben|Mc|O'|D')[ ']?){{0,3}}{_CAPITAL}[\w'’-]{{0,40}}"
_FULL_NAME = rf"(?:{_CAPITAL}\.? ){{0,3}}{_SURNAME}(?: (?:{_CAPITAL}\.? ){{0,3}}{_SURNAME}){{0,3}}"
_GIVEN = "|".join(GIVEN_NAMES)
_TITLE = (
    r"(?:Dr|Prof|Professor|Doctor|Mr|Mrs|Ms|Miss|Mister|Sir|Madam|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Dott|Dra|Sig|Sra|"
    r"(?:Hr|Fr|Sr|DR|MR|MRS|MS|PROF|HERR|FRAU)(?=\.))"
)
_LABELLED_NUMBER = r"(?:no|nr|number|num|id|#)\.?"


def _rule(kind: str, reason: str, pattern: str, flags: int = 0) -> ValueRule:
    return ValueRule(kind, reason, re.compile(pattern, flags))


VALUE_RULES = (
    _rule(ONLINE, "An e-mail address reaches the person.", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}"),
    _rule(ONLINE, "A web address may be a patient's page.", r"(?:https?|ftp|file)://\S+|\bwww\.\S+", re.I),
    _rule(ONLINE, "A network address points to a machine.", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"),
    _rule(
        RECORD,
        "A UUID or a DICOM UID is one study, slide or person.",
        r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|(?<![\d.])\d+(?:\.\d+){5,}",
        re.I,
    ),
    _rule(
        RECORD,
        "A long hexadecimal code is a key of some system.",
        r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{12,}\b",
        re.I,
    ),
    _rule(
        BIRTH,
        "Any number after a word for birth, even a year alone.",
        r"(?<![\w-])(?:dob|d\.o\.b\.?|born|date of birth|birth ?date|birthday|geb\.|geboren)[\s:=.]*(?:on|in|am)?\s*\d[\d./-]*",
        re.I,
    ),
    _rule(
        DATE,
        "A full date, year first; also with a time. Years alone may stay.",
        rf"(?<!\d){_YEAR}(?P<iso>[-/.])(?:0?[1-9]|1[0-2])(?P=iso){_DAY}(?!\d){_TIME}",
    ),
    _rule(
        DATE,
        "A full date, day or month first, with the same mark twice. Counts such as 3/12 stay.",
        rf"(?<![\d.]){_DAY}(?P<mark>[./-]| ?\. ?| / | - )(?:{_DAY}|{_MONTH_NUMBER})(?P=mark)(?:{_YEAR}|\d{{2}})(?![\d%]|\.\d){_TIME}",
    ),
    _rule(
        DATE,
        "Month and year still tell when; a decimal such as 1.2019 stays.",
        rf"(?<![\d./-]){_MONTH_NUMBER}/{_YEAR}(?!\d)|(?<!\d)(?:19|20)\d{{2}}[-/](?:0[1-9]|1[0-2])(?![\d/-])|(?<![\d.])0[1-9]\.(?:19|20)\d{{2}}(?!\d)",
    ),
    _rule(
        DATE,
        "Dates with the month as a word, in five languages.",
        rf"(?<![\w-])(?:{_DAY}(?:st|nd|rd|th|º|\.)?[ ./-]*(?:of |de )?{_MONTH}\b\.?,?[ ./-]*(?:de )?(?:{_YEAR}|['’]?\d{{2}}\b)"
        rf"|{_DAY}{_MONTH}(?:{_YEAR}|\d{{2}}\b)"
        rf"|{_MONTH}(?:\. ?|[ -]+){_DAY}(?:st|nd|rd|th)?,? +{_YEAR}|{_MONTH}\b\.?,?[ /-]*(?:de )?{_YEAR})(?!\d)",
        re.I,
    ),
    _rule(
        DATE,
        "Day and month without a year, where the month can't be another word.",
        rf"\b{_DAY}(?:st|nd|rd|th|\.)? (?:of )?{_CLEAR_MONTH}\b|\b{_CLEAR_MONTH} {_DAY}(?:st|nd|rd|th)?\b",
        re.I,
    ),
    _rule(
        RECORD,
        "A number introduced by its name.",
        r"\b(?:mrn|pid|ssn|nhi|hcn|uhid|empi|kvnr|nhs|chi|accession)\b[\s:#=.-]*(?:no|nr|number|num|id)?[\s:#=.-]*[A-Z]{0,5}[-/]?\d[\w/-]*"
        r"|\b(?:case|record|chart|specimen|block|sample|slide|lab|path|pathology|report|patient|pat|pt|hospital|account|"
        rf"policy|insurance|member|file|episode|encounter|order|reference|ref)\.? ?{_LABELLED_NUMBER}[\s:#=.-]*[A-Z]{{0,5}}[-/]?\d[\w/-]*"
        r"|\bid ?[:#=] ?[A-Z]{0,5}[-/]?\d[\w/-]*",
        re.I,
    ),
    _rule(RECORD, "A TCGA barcode names one donor.", r"\bTCGA-\w{2}-\w{4}[\w-]*", re.I),
    _rule(
        RECORD,
        "Accession numbers of pathology departments: letters, two-digit year, running number (S22-12345, 22-S-12345).",
        r"\b[A-Z]{1,4}[-: ]?\d{2}[-/:]\d{3,}\b|\b\d{2}[-/ ]?[A-Z]{1,3}[-/ ]?\d{4,}\b|\b[A-Z]{1,2}[-/.]?\d{4,6}/(?:19|20)?\d{2}\b"
        r"|\b(?:19|20)\d{2}[-/](?!(?:19|20)\d{2}\b)\d{4,}\b",
    ),
    _rule(
        RECORD,
        "Letters and five digits or more are a record number; gene, variant, transcript and trial numbers stay.",
        r"\b(?!(?:rs|ss|COSM|COSV|ENS[A-Z]|NCT|ORPHA|OMIM|HGNC|CVCL|NM|NP|NC|NR)[_-]?\d)[A-Z]{1,6}[-_/]?\d{5,}\w*\b",
        re.I,
    ),
    _rule(
        NATIONAL,
        "Social security and national insurance numbers by their shape.",
        r"\b\d{3}[- ]\d{2}[- ]\d{4}\b|\b[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b|\b756\.\d{4}\.\d{4}\.\d{2}\b|\b\d{3}\.\d{3}\.\d{3}-\d{2}\b",
    ),
    _rule(
        PHONE,
        "Telephone numbers: a leading +, 00 or 0, or groups of three, three and four digits.",
        r"(?<![\w.])(?:\+|00)\d[\d ()./-]{5,}\d|(?<![\w.])\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?!\d)"
        r"|(?<![\w.])\(?0\d{1,5}\)?[ /-]{1,2}\d{3,}(?:[ -]\d{2,})*|\b(?:tel|phone|fax|mobile)\b[\s.:]*\+?[\d(][\d ()./-]{4,}\d",
        re.I,
    ),
    _rule(
        LONG_NUMBER,
        "Counts and measures in pathology have fewer than seven digits; records have more. Decimals stay.",
        r"(?<![\d])(?<!\d\.)(?<!rs)(?<!COSM)(?<!COSV)(?<!NCT)(?<!ENS[GTP])\d{7,}",
    ),
    _rule(
        LONG_NUMBER,
        "Nine digits or more in groups are a number that someone looked up, not a measure.",
        r"(?<![\w.])(?=(?:\d[ -]?){9})\d{2,}(?:[ -]\d{2,}){2,}(?!\d)",
    ),
    _rule(
        CLINICIAN,
        "A title and a name. 'HLA-DR' and 'MS-stable' are not titles.",
        rf"(?<![\w-])(?:(?:Dr|Prof|Professor|Doctor|PROF|DR)\.? ?)+(?:med\. )?(?<=[ .]){_FULL_NAME}",
    ),
    _rule(
        PERSON,
        "A form of address and a name.",
        rf"(?<![\w-]){_TITLE}\.?\s*(?<=[ .]){_FULL_NAME}|(?<![\w-])(?i:dr|mr|mrs|prof)\.\s+[\w'’-]+(?: {_SURNAME})*",
    ),
    _rule(
        PERSON,
        "A name introduced by its label. 'Patient: female' is no name.",
        r"\b(?i:name|patient name|patient|surname|pt)\s*[:=]\s*(?!(?i:male|female|man|woman|boy|girl|adult|age|aged|with|stage|history)\b)"
        + _FULL_NAME,
    ),
    _rule(
        CLINICIAN,
        "Who signed, reported or referred.",
        r"\b(?i:signed(?: out)?(?: by)?|reported by|referred by|seen by|reviewed by|requested by|operated by|pathologist|"
        r"surgeon|physician|consultant|oncologist|radiologist)\b\s*[:=]?\s*" + _FULL_NAME,
    ),
    _rule(
        PERSON,
        "A common given name with a surname, in either order.",
        rf"(?<![\w-])(?:{_GIVEN})(?:[ -](?:{_GIVEN}))?(?: {_CAPITAL}\.?){{0,3}} {_SURNAME}(?:-{_SURNAME})?|(?<![\w-]){_SURNAME}, (?:{_GIVEN})\b(?: {_CAPITAL}\.?(?!\w))?",
    ),
    _rule(
        INSTITUTION,
        "A hospital by name.",
        rf"(?:(?<!\w){_CAPITAL}[\w'’.-]{{1,40}} (?:of |and |& )?){{1,4}}(?:Hospitals?|Clinic|Infirmary|Klinikum|Klinik|Krankenhaus|Medical Cent(?:er|re)|"
        rf"NHS Trust|Health Cent(?:er|re)|Hospice)\b|\b(?:Klinikum|Krankenhaus|Universit(?:y|ä)ts?(?:klinik\w*| Hospital)|Hospital|H[oô]pital|Ospedale|Hospital de) (?:of |de |di |am |der )?{_CAPITAL}[\w'’-]+(?: {_CAPITAL}[\w'’-]+){{0,3}}",
    ),
    _rule(
        ADDRESS,
        "A street with a house number, or a post code.",
        rf"\b\d{{1,5}}[a-z]? (?:{_CAPITAL}[\w'’.-]* ){{1,3}}(?:Street|St\.|Road|Rd|Avenue|Ave|Lane|Drive|Boulevard|Blvd|Court|Terrace|Crescent|Square|Way)\b\.?"
        rf"|\b{_CAPITAL}[\wäöüß-]*(?:straße|strasse|str\.|gasse|platz|allee|weg) ?\d+[a-z]?\b|\b(?:rue|via|calle|avenue) (?:d[eu] )?(?:la )?{_CAPITAL}[\w'’ -]{{0,40}}\d+"
        r"|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b|\b[A-Z]{2} \d{5}(?:-\d{4})?\b",
    ),
)

_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufe00-\ufe0f]")
_DASHES = re.compile("[\u2010-\u2015\u2212\u2043\ufe58\ufe63\uff0d]")
# Stands where something was cut out until all rules have run, so that the remaining parts can't join to a new word.
_CUT = "\ufffc"


def plain(text: str) -> str:
    """Text in NFKC form with plain dashes, single blanks and nothing invisible: what the rules are matched on."""
    text = _DASHES.sub("-", _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else _digit(c) for c in text).split())


def identifiers_in(text: str) -> tuple[str, ...]:
    """The kinds of identifier that a value holds, one for each match; empty for a clinical value."""
    return mask(text)[1]


def mask(text: str) -> tuple[str, tuple[str, ...]]:
    """Cut identifiers out of free text.

    Returns:
        The text that remains, in the form of `plain`, and the kind of each piece that was cut out.
    """
    remaining, kinds = plain(text).replace(_CUT, " "), []
    for rule in VALUE_RULES:
        remaining, count = rule.pattern.subn(_CUT, remaining)
        kinds += [rule.kind] * count
    return " ".join(remaining.replace(_CUT, " ").split()), tuple(kinds)


def _digit(character: str) -> str:
    """A digit of any script as an ASCII digit, so that Arabic-Indic numbers are numbers to the rules."""
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


_OLDEST_AGE_SHOWN = 89
_AGE = re.compile(
    r"(?P<before>\b(?:aged?|age at \w+|alter)\b(?: of)?[ :=]*)?(?<![\d.])(?P<years>\d{2,3}(?:\.\d+)?)\+?(?P<after>[ -]?(?:years?|yrs?|y)\b(?:[ -]?(?:of age|old|o\b|/o))?|[ -]?yo\b|"
    r"[ -]?y/o\b|[ -]?j[aä]hrige?[nrs]?\b| Jahre(?: alt)?\b)?",
    re.I,
)
AGE_GROUP = "90+"


def hide_great_age(text: str, *, is_age: bool = False) -> str:
    """Write ages above 89 as `90+`: safe harbour counts them as identifying.

    Args:
        text: A value, or free text.
        is_age: True when the key says that the value is an age, so that a bare number is one.
    """

    def group(match: re.Match[str]) -> str:
        says_age = is_age or match["before"] or match["after"]
        if not says_age or int(float(match["years"])) <= _OLDEST_AGE_SHOWN:
            return match[0]
        return f"{match['before'] or ''}{AGE_GROUP}{match['after'] or ''}"

    return _AGE.sub(group, text)


def reasons() -> Iterator[tuple[str, str]]:
    """Every rule's kind and reason, for the documentation."""
    return ((rule.kind, rule.reason) for rule in VALUE_RULES)
