"""From the zip of an LMS to a folder per student, and to a notebook that can be graded.

collect     sorts the submitted files by student; archives opens zips, names reads their names
roster      the list of students, as LMSs and Excel write it
repair      restores the cells of the release in a submission
cells       finds the answers among the cells of a notebook; merge puts the cells together
"""
