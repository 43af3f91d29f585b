"""What instructors and students see of the grading.

gradebook    nbgrader's database; grade_table reads it and writes grades.csv
feedback     a page per submission; pictures puts pictures into it, sanitize removes what could run
overview     a page per lab: points, reviews, frequent mistakes
"""
