"""A run: from a corpus and options to a folder with a recognizer, its figures and all that a training needs to go on.

`options` says what can be chosen, `material` reads recordings, `training` trains and resumes, `folder` is what lies on the disk,
`evaluation` judges, `plots` draws. `extraction` and `shards` make features alone, of a corpus of any size.
"""
