"""make grade: judges what students handed in, and trusts none of it.

    submission  takes the few files that count out of a folder, an archive or a file
    scan        what their text must not have
    sandbox     where the compiler runs: without the host's files, network and patience
    compile     kbuild in there, and what it read
    judging     one submission: from its files to a record of verdicts
    weights     what a behaviour is worth
    results     a record as a table, results.json, JUnit XML, KTAP and a page
    classroom   many submissions side by side, and the one CSV
    command     what `make grade` reads from its variables
    samples     made-up submissions, good and hostile, and what has to become of each
    selfcheck   make grade-check: grades those samples, twice
"""
