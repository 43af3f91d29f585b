"""Students' Markdown without what could harm or track the reader; the words stay."""

import html
import re

_WEB = r"[ \t]*(?:https?://|mailto:|#)"
_PICTURE = r"(?<!\\)!\[[^\[\]\\<\n]*\]\(data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=]+\)"
# of MathJax: links, styles, more commands
_COMMANDS = "href|bbox|class|cssId|style|require|mmlToken|includegraphics"
_HARMFUL = re.compile(
    rf"(?P<picture>{_PICTURE})"  # in the notebook itself: stays
    r"|<(?=[A-Za-z/!?])"  # a tag needs its name right after the <
    # an external picture would report the reader to its host: it becomes a link
    r"|!(?=\[)"
    rf"|\](?=[(:](?!{_WEB}))"  # [text](target) and [name]: target
    rf"|\\(?=(?:{_COMMANDS})(?![A-Za-z]))",
    re.IGNORECASE,
)


def harmless(markdown: str) -> str:
    """`markdown` without tags, with links to the web only and with no picture from elsewhere.

    A space breaks each of them.
    """
    plain = html.unescape(markdown)  # &#91; is a bracket for a browser too
    if html.unescape(plain) != plain:
        plain = plain.replace("&", "& ")
    return _HARMFUL.sub(_broken, plain)


def _broken(found: re.Match) -> str:
    if found["picture"]:
        return found[0]
    return found[0] + " "
