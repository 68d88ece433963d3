# Reads lines "latitude longitude unix" (degrees, seconds) and prints for each the sun's geometric elevation in degrees,
# without refraction, by PyEphem and by Pysolar.
import datetime
import math
import sys

import ephem
from pysolar import solar

for line in sys.stdin:
    lat, lon, unix = line.split()
    when = datetime.datetime.fromtimestamp(int(unix), datetime.timezone.utc)
    observer = ephem.Observer()
    observer.lat, observer.lon = math.radians(float(lat)), math.radians(float(lon))
    observer.elevation = observer.pressure = 0
    observer.date = ephem.Date(when.replace(tzinfo=None))
    by_ephem = math.degrees(ephem.Sun(observer).alt)
    by_pysolar = solar.get_altitude(float(lat), float(lon), when, pressure=0)
    print(f"{by_ephem:.6f} {by_pysolar:.6f}")
