"""The rows of a part as a person reads them: named columns, labels by class, values in the units of the raw data.

`PartRows` (part.py) is what tables, frames and exports are made of; `Condition` (condition.py) chooses rows of it by an
expression; pick.py says which rows a user means, sparkline.py draws a course in one line.
"""

from stages.look.columns import Choice, LookField
from stages.look.condition import Condition
from stages.look.part import PartRows

__all__ = ["Choice", "Condition", "LookField", "PartRows"]
