"""Charts of a sweep: each a function of its `Facts` that returns a Plotly figure.

Most trials of a sweep are stopped early, and scores after different numbers of critic updates do not compare. So what
compares hyper-parameters (importance, slices, pairs) takes the score at one step that nearly all trials reached,
`Facts.equal_step`; what follows the search (best so far, curves) shows each score at the step where it was reported.
"""
