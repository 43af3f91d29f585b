"""The measured machine. Values that cannot be read are None: a laptop has no vcgencmd.

machine     board, processor, memory and system: describe
state       clock, temperature and throttling now: conditions, throttle_flags
roofline    the limits of one core: measure_roofline; peak_process measures them
memory      the peak memory of code: peak_rss
limits      the cores and the memory that this process may use
"""

from helpers.device.machine import describe
from helpers.device.memory import peak_rss, peak_rss_of_this_process
from helpers.device.roofline import Peak, measure_roofline
from helpers.device.state import THROTTLE_BITS, conditions, throttle_flags

__all__ = [
    "THROTTLE_BITS",
    "Peak",
    "conditions",
    "describe",
    "measure_roofline",
    "peak_rss",
    "peak_rss_of_this_process",
    "throttle_flags",
]
