"""From the zip of an LMS to a folder per student, and to a notebook that can be graded.

collect     sorts the submitted files by student; archives opens zips, names reads their names
roster      the list of students, as LMSs and Excel write it
repair      a submission with the cells of the release, where they can be found
cells       the cells of a notebook, and where answers are; merge puts them together
"""
