"""Numbers as people write them: with a currency or a unit, digits in groups, brackets for what is negative.

    €12.50   -$5   USD 61.91   61.91 EUR   R$ 3   61.9 kg   120 km/h   61 913.00   1’234 CHF   (61.91)

A currency is a sign, with up to two letters before it, or a code of ISO 4217; a unit is up to eight letters,
with ° / · - and 2 or 3 among them, and stands after its number. Spaces (also those that do not break) and
apostrophes may group digits by three. It makes no difference whether a currency stands before or after.
"""

import pyarrow as pa
import pyarrow.compute as pc

CODES = (
    r"AED|AFN|ALL|AMD|ANG|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|BYN|BZD"
    r"|CAD|CDF|CHF|CLP|CNY|COP|CRC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|GBP|GEL|GHS|GIP|GMD"
    r"|GNF|GTQ|GYD|HKD|HNL|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT"
    r"|LAK|LBP|LKR|LRD|LSL|LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRU|MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR"
    r"|NZD|OMR|PAB|PEN|PGK|PHP|PKR|PLN|PYG|QAR|RON|RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SOS|SRD|SSP"
    r"|STN|SYP|SZL|THB|TJS|TMT|TND|TOP|TRY|TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VES|VND|VUV|WST|XAF|XCD|XOF|XPF"
    r"|YER|ZAR|ZMW"
)
SPACE = "[ \u00a0\u2009\u202f]"
GROUPS = rf"[1-9]\d{{0,2}}(?:(?:{SPACE}|['’])\d{{3}})+"
DIGITS = rf"(?:(?:{GROUPS}|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
CURRENCY = rf"(?:[A-Z]{{0,2}}\p{{Sc}}|{CODES})"
LETTERS = "A-Za-z°µ‰\u00c0-\u1fff\u3040-\ud7ff"  # of all scripts; \p{L} takes ten times as long to compile
LONGEST = 8  # letters of a unit
UNIT = rf"(?:{CURRENCY}|[{LETTERS}][{LETTERS}23²³/·-]*)"
MAYBE = rf"^[(+-]?[A-Z]{{0,3}}\p{{Sc}}?{SPACE}?[+-]?[\d.,]"  # how all amounts begin; quick to tell
BEFORE = rf"^\(?(?:[+-]?{CURRENCY}{SPACE}?)?[+-]?"
AFTER = rf"(?:{SPACE}?(?:%|{UNIT}))?\)?$"
NUMBER = r"^([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?( ?%)?|(?i:true|false))$"
LIKE = rf"{BEFORE}{DIGITS}{AFTER}"  # what `spelled` may know, and little else
COMMA = rf"{BEFORE}(?:{GROUPS}|\d*),\d+([eE][+-]?\d+)?{AFTER}"
GROUPED = rf"{BEFORE}[1-9]\d{{0,2}}(,\d{{3}})+(\.\d*)?{AFTER}"
POINTS = rf"{BEFORE}[1-9]\d{{0,2}}(\.\d{{3}})+,\d+{AFTER}"  # points group, a comma begins the decimals
SURE_POINTS = rf"{BEFORE}[1-9]\d{{0,2}}(\.\d{{3}})+,\d\d?{AFTER}"  # of three decimals one cannot be sure
COMMAS = ((POINTS, ((".", ""),)), (COMMA, ((",", "."),)))
POINTED = ((SURE_POINTS, ((".", ""), (",", "."))), (GROUPED, ((",", ""),)))
REWRITTEN = (  # into a number, and its currency or unit
    (r"^\(([^()+-]*)\)$", r"-\1"),
    (rf"^([+-])({CURRENCY}{SPACE}?)", r"\2\1"),
    (rf"^({CURRENCY}){SPACE}?([+-]?{DIGITS})$", r"\2\1"),
)
AMOUNT = rf"^(?P<number>[+-]?{DIGITS}){SPACE}?(?P<unit>{UNIT})?$"


def spelled(text: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Numbers as NUMBER has them, and the unit of each, empty without one; both null for other text."""
    for written, wanted in REWRITTEN:
        text = pc.replace_substring_regex(text, written, wanted)
    parts = pc.extract_regex(text, AMOUNT)
    number = pc.replace_substring_regex(pc.struct_field(parts, "number"), rf"{SPACE}|['’]", "")
    plain = pc.match_substring_regex(text, NUMBER)
    unit = pc.if_else(plain, "", pc.struct_field(parts, "unit"))
    short = pc.less_equal(pc.utf8_length(unit), LONGEST)
    return pc.if_else(plain, text, number), pc.if_else(short, unit, None)


def regular(table: pa.Table, commas: bool) -> pa.Table:
    """The cells with decimals that begin with a point, and digits that neither points nor commas group.

    `commas`: decimals begin with a comma there. Text that is no number keeps its own.
    """
    rules = COMMAS if commas else POINTED
    columns = []
    for column in table.columns:
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if text and pc.any(pc.match_substring(column, ",")).as_py():
            for pattern, marks in rules:
                matches, new = pc.match_substring_regex(column, pattern), column
                for mark, instead in marks:
                    new = pc.replace_substring(new, mark, instead)
                column = pc.if_else(matches, new, column)
        columns.append(column)
    return pa.table(columns, names=table.column_names)
