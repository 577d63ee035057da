"""Bad inputs, drawn by Hypothesis: each has to end in a sentence that says what to do."""
