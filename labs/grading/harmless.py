"""Markdown of students without what harms or watches who reads it; the words stay."""

import html
import re

_WEB = r"[ \t]*(?:https?://|mailto:|#)"
_PICTURE = r"(?<!\\)!\[[^\[\]\\<\n]*\]\(data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=]+\)"
_COMMANDS = "href|bbox|class|cssId|style|require|mmlToken|includegraphics"  # of MathJax: links, styles, more commands
_HARMFUL = re.compile(
    rf"(?P<picture>{_PICTURE})"  # in the notebook itself: stays
    r"|<(?=[A-Za-z/!?])"  # a tag needs its name right after the <
    r"|!(?=\[)"  # a picture from elsewhere tells who opened the page, and when: a link is left of it
    rf"|\](?=[(:](?!{_WEB}))"  # [text](target) and [name]: target
    rf"|\\(?=(?:{_COMMANDS})(?![A-Za-z]))",
    re.IGNORECASE,
)


def harmless(markdown: str) -> str:
    """`markdown` without tags, with links to the web only and with no picture from elsewhere: a space breaks each of them."""
    plain = html.unescape(markdown)  # &#91; is a bracket for a browser too
    if html.unescape(plain) != plain:
        plain = plain.replace("&", "& ")
    return _HARMFUL.sub(lambda found: found[0] if found["picture"] else found[0] + " ", plain)
