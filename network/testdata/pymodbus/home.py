"""A home made of pymodbus: an inverter (unit 1) and the meter at its grid connection (unit 2), which speak SunSpec over Modbus TCP.

home.py PORT CHAIN ENERGY RATE AHEAD serves it at 127.0.0.1:PORT. Energy time is ENERGY at the Unix second CHAIN and runs RATE times as fast as
the clock; the sun is AHEAD seconds ahead of Greenwich's. The panels give a half wave from six to six by the sun, the household uses
400 W. Registers hold still around the end of each quarter hour: at some hundred seconds a second, two readings are never of one time.
"""

import math
import sys
import time

from pymodbus.constants import Endian
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.server import StartTcpServer

QUARTER = 900
PEAK, LOAD = 5000, 400  # W

port, chain, energy, rate, ahead = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])

# Wh at the end of each quarter hour since ENERGY: panels, export, import. Meters have a past.
sums = [(7_000_000, 3_000_000, 2_000_000)]


def reading():
    """Returns what the counters show now."""
    now = energy + (time.time() - chain) * rate
    k = int((now + QUARTER / 2) // QUARTER) - energy // QUARTER
    while len(sums) <= max(k, 0):
        hour = ((energy // QUARTER + len(sums)) * QUARTER + ahead) % 86400 / 3600
        made = int(PEAK * max(0.0, math.sin(math.pi * (hour - 6) / 12)) / 4)
        used = LOAD // 4
        pv, exp, imp = sums[-1]
        sums.append((pv + made, exp + max(made - used, 0), imp + max(used - made, 0)))
    return sums[max(k, 0)]


class Block:
    """A SunSpec model being written: what is not set is not implemented."""

    def __init__(self, model, length, fill=0x8000):
        self.words = [model, length] + [fill] * length

    def put(self, at, kind, value):
        b = BinaryPayloadBuilder(byteorder=Endian.Big, wordorder=Endian.Big)
        {
            "int16": b.add_16bit_int,
            "uint16": b.add_16bit_uint,
            "uint32": b.add_32bit_uint,
            "string": lambda s: b.add_string(s.ljust(32, "\0")),
        }[kind](value)
        words = b.to_registers()
        self.words[at:at + len(words)] = words


def common(model, serial):
    b = Block(1, 66, 0)
    b.put(2, "string", "pymodbus")
    b.put(18, "string", model)
    b.put(50, "string", serial)
    b.put(66, "uint16", 1)
    return b.words


def inverter():
    pv, _, _ = reading()
    b = Block(103, 50)
    b.put(14, "int16", 0)
    b.put(15, "int16", 0)
    b.put(24, "uint32", pv)
    b.put(26, "int16", 0)
    b.put(38, "uint16", 4)
    n = Block(120, 26)
    n.put(2, "uint16", 4)
    n.put(3, "uint16", PEAK)
    n.put(4, "int16", 0)
    return common("roof", "PY-1") + b.words + n.words


def meter():
    _, exp, imp = reading()
    b = Block(203, 105)
    b.put(18, "int16", 0)
    b.put(22, "int16", 0)
    b.put(38, "uint32", exp)
    b.put(46, "uint32", imp)
    b.put(54, "int16", 0)
    return common("meter", "PY-2") + b.words


class Unit(ModbusSlaveContext):
    """Registers from 40000 on, made when they are read."""

    def __init__(self, models):
        super().__init__(zero_mode=True)
        self.models = models

    def registers(self):
        return [0x5375, 0x6E53] + self.models() + [0xFFFF, 0]

    def validate(self, fc_as_hex, address, count=1):
        return fc_as_hex in (3, 4) and address >= 40000 and address + count <= 40000 + len(self.registers())

    def getValues(self, fc_as_hex, address, count=1):
        return self.registers()[address - 40000:address - 40000 + count]

    def setValues(self, fc_as_hex, address, values):
        pass


StartTcpServer(context=ModbusServerContext(slaves={1: Unit(inverter), 2: Unit(meter)}, single=False), address=("127.0.0.1", port))
