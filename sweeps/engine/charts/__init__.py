"""Charts of a sweep: each a function of its `Facts` that returns a Plotly figure.

Most trials of a sweep are stopped early, and scores after different numbers of critic updates do not compare. So what
compares hyper-parameters (importance, slices, pairs) takes the score at one step that nearly all trials reached,
`Facts.equal_step`; what follows the search (best so far, curves) shows each score at the step where it was reported.

In a notebook:

    from sweeps.engine.charts.facts import read_facts
    from sweeps.engine.charts.hyper import parallel_coordinates
    from sweeps.engine.results.results import open_results

    parallel_coordinates(read_facts(open_results(None, "mnist")))
"""
