"""What is there? What a folder's files are for, what masks and tables hold, and what the files do not show.

study.py        all of it together; found.py: Study, what it fills in
file_sets.py    files that are alike in place and name: a pattern each; lists.py: text files that list what is held out
pairing.py      which sets are images, and which are their masks; split_words.py: the words that say what is held out
class_files.py  masks of which each class has a file
merging.py      one pattern for train/ and val/
asked.py        what the user says of the files; hints.py: a pattern that would match, for one that does not
roles.py        images and masks by id, and the patterns that name them; templates.py: ids from several parts of a path
to_predict.py   the same of tests
tables.py       CSV files: run lengths, sample submission, facts of images
spellings.py    masks in a CSV that are not written as "start length …"
labels.py       what the values of masks are; parts.py: the same of parts of large files
numbers.py      whether numbers in masks are classes or count objects
coding.py       whether they hold a class and a number each
palettes.py     masks whose palettes have another order than most
alikeness.py    whether images of a group are more alike than others
upright.py      whether images have an upper side
questions.py    what the files do not show, and the flag that says it
"""
