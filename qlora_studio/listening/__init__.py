"""The statistics of listening tests: from votes to a ranking. Knows no database, no page and no sounds.

`votes` says what a vote is and counts them, `raters` tells whose are left out, `strengths` ranks, `power`
says how many more votes are needed, `agreement` how far the raters agree, `questions` which pair to ask next.
`docs/listening-tests.md` explains each method.
"""
