"""What instructors and students see of the grading.

gradebook    nbgrader's database; grade_table is what it says, and grades.csv
feedback     a page per submission; pictures are kept in it, sanitize takes out what could run
overview     a page per lab: points, reviews, frequent mistakes
"""
