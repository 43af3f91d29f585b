"""The student id of a lab: each student's own values are drawn from it."""

import zlib

PLACEHOLDER = "0000000"  # in a lab until the student replaces it
CONSONANTS = "bdlmnrstv"
VOWELS = "aeiou"


def check_word(student_id: str) -> str:
    """Six letters that change with every character of the id, so that a mistyped id is noticed."""
    number = zlib.crc32(student_id.encode())
    word = ""
    for _ in range(3):
        number, consonant = divmod(number, len(CONSONANTS))
        number, vowel = divmod(number, len(VOWELS))
        word += CONSONANTS[consonant] + VOWELS[vowel]
    return word
