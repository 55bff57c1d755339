"""Charts of a sweep. Each is a function that takes the sweep's `Facts` and returns a Plotly figure.

Most trials of a sweep are stopped early, and scores after different numbers of critic updates are not comparable.
Charts that compare hyper-parameters (importance, slices, pairs) therefore use the score at one step that nearly all
trials reached, `Facts.equal_step`. Charts of the search's course (best so far, curves) show each score at the step
where it was reported.

In a notebook:

    from sweeps.engine.charts.facts import read_facts
    from sweeps.engine.charts.hyper import parallel_coordinates
    from sweeps.engine.results.results import open_results

    parallel_coordinates(read_facts(open_results(None, "mnist")))
"""
