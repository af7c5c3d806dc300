"""What follows? Each decision about a recipe, with its reason in words.

choices.py      all of them: what `kit new` prints, and what a recipe is written from
meaning.py      the task and the classes; values.py: of masks whose files hold all classes of an image
coded.py        values that hold a class and a number each
legend.py       names of classes from a table; csv_meaning.py: task and classes of masks in a CSV
groups.py       groupings by ids, folders and tables, and the evidence for each
sizing.py       sizes, batches and epochs for the device; slides.py: what differs for slides
network.py      encoder and weights, by what is at hand
shared_objects.py  pixels that are in several objects
object_sizes.py how large objects are: whether crops at their own scale suit them
rows.py         how the CSV is written
goal.py         the metric; metrics.py: the names of metrics
"""
