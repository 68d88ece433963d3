"""An inverter (unit 1: SunSpec models 1, 103, 120) and a meter (unit 2: 1, 203), served by pymodbus.

usage: server.py tcp PORT | server.py rtu DEVICE

The layout is written down here anew, from the SunSpec specification: it shares nothing with what reads it. A line on standard input sets a
counter: "wh 5000", "exp 7", "imp 9"; it is answered with the same line.
"""
import asyncio
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext

try:
    from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
except ImportError:
    from pymodbus.server.async_io import StartAsyncSerialServer, StartAsyncTcpServer
try:
    from pymodbus.transaction import ModbusRtuFramer
except ImportError:
    from pymodbus.framer.rtu_framer import ModbusRtuFramer

BASE = 40000


def text(s, words):
    raw = s.encode().ljust(2 * words, b"\0")
    return list(struct.unpack(">%dH" % words, raw))


def common(model, serial):
    return [1, 66] + text("Pymodbus", 16) + text(model, 16) + text("", 8) + text("1", 8) + text(serial, 16) + [1, 0x8000]


NONE = 0xFFFF
SF = 0x8000

inverter = [103, 50] + [NONE] * 50
inverter[14], inverter[15] = 4200, 0  # W
inverter[24:26], inverter[26] = [0x0001, 0x0002], 0  # WH
for i in (6, 13, 17, 19, 21, 23, 28, 30, 32, 37):
    inverter[i] = SF

nameplate = [120, 26] + [NONE] * 26
nameplate[2], nameplate[3], nameplate[4] = 4, 50, 2  # photovoltaic, 5,000 W

meter = [203, 105] + [0x8000] * 36 + [0] * 69  # up to the power factor, then counters
meter[18], meter[22] = (-700) & 0xFFFF, 0  # W
meter[38:40] = [0, 1234]  # TotWhExp
meter[46:48] = [0x0010, 0]  # TotWhImp
meter[54] = (-1) & 0xFFFF  # TotWh_SF: tenths
meter[71] = meter[104] = SF

END = [0xFFFF, 0]
units = {
    1: text("SunS", 2) + common("Inverter", "PV-1") + inverter + nameplate + END,
    2: text("SunS", 2) + common("Meter", "GRID-1") + meter + END,
}
counters = {"wh": (1, 2 + 68 + 24), "exp": (2, 2 + 68 + 38), "imp": (2, 2 + 68 + 46)}

# Addresses of pymodbus' sequential blocks are one higher than those on the wire.
slaves = {n: ModbusSlaveContext(hr=ModbusSequentialDataBlock(BASE + 1, regs)) for n, regs in units.items()}
context = ModbusServerContext(slaves=slaves, single=False)


def listen():
    for line in sys.stdin:
        name, value = line.split()
        unit, offset = counters[name]
        v = int(value)
        context[unit].setValues(3, BASE + offset, [v >> 16 & 0xFFFF, v & 0xFFFF])
        print(line.strip(), flush=True)


async def main():
    asyncio.get_running_loop().run_in_executor(None, listen)
    print("ready", flush=True)
    if sys.argv[1] == "tcp":
        await StartAsyncTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])))
    else:
        await StartAsyncSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=9600)


asyncio.run(main())
