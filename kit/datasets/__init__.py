"""Which data sets are known, and where do their files lie?

folder.py       Folder: anyone's images and masks, found by patterns. Its parts: patterns.py, matching.py, groups.py,
                image_files.py; masks.py (mask_kinds.py, mask_files.py, mask_objects.py, mask_classes.py, objects.py,
                values.py); id_tables.py: tests that a CSV names
slides.py       Slides: anyone's slides, read by regions; slide_masks.py: their mask files, run_tables.py: their run
                lengths in a CSV
neighbours.py   Neighbours: the slices around an image as channels
images_alone.py Images: a folder or zip without masks, to predict; slides_alone.py: of slides
carvana.py      cars in a studio; studio.py, studio_car.py, studio_render.py: the drawn ones in the same layout
pets.py         Oxford-IIIT Pet: cats and dogs with the breeds
voc.py          PASCAL VOC; voc_sbd.py, voc_mat.py: the SBD masks; voc_objects.py: crops of single objects
camvid.py       road scenes
blood_cells.py  white cells in smears
salt.py         TGS Salt
membranes.py    ISBI 2012: membranes of nerve cells, the data of the U-Net paper
coco_panoptic.py  COCO's panoptic format: classes for each pixel, and things one by one
nuclei.py       Data Science Bowl 2018: a label image of nuclei; discs.py: drawn ones that touch, in the same layout

drawn_files.py  what drawn data sets share: drawn once and whole
places.py       find_data, require_data: --data-dir, $KIT_DATA, data/, Kaggle's input
download.py     python -m kit download; unpack.py: archives that cannot reach outside
scan.py         python -m kit lint FOLDER; pairs.py guesses which files are masks of which;
                kinds.py compares the types of images

files.py        DataFolder: files in folders or in zips, by paths; archives.py, walking.py: the contents of either
names.py        ids from file names, in Unicode's composed form
paired.py       what data sets share whose images and masks are a file each
reading.py      sizes from headers, strict decoding of all
fingerprints.py a hash of files' paths and contents

studio and scan are not imported here: they load compiled kernels and every reader.
"""

from kit.datasets.blood_cells import BloodCells
from kit.datasets.camvid import CamVid
from kit.datasets.carvana import Carvana
from kit.datasets.coco_panoptic import CocoPanoptic
from kit.datasets.files import DataFolder
from kit.datasets.folder import Folder
from kit.datasets.membranes import Membranes
from kit.datasets.neighbours import Neighbours
from kit.datasets.nuclei import Nuclei
from kit.datasets.pets import Pets
from kit.datasets.places import find_data, require_data
from kit.datasets.salt import Salt
from kit.datasets.slides import Slides
from kit.datasets.voc import VOC
from kit.datasets.voc_objects import ObjectCrops

__all__ = [
    "VOC",
    "BloodCells",
    "CamVid",
    "Carvana",
    "CocoPanoptic",
    "DataFolder",
    "Folder",
    "Membranes",
    "Neighbours",
    "Nuclei",
    "ObjectCrops",
    "Pets",
    "Salt",
    "Slides",
    "find_data",
    "require_data",
]
