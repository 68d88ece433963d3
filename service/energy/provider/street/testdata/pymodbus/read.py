"""Walks the SunSpec models of a Modbus unit with pymodbus, and prints what it finds as JSON: read.py HOST PORT UNIT."""

import json
import sys

from pymodbus.client import ModbusTcpClient
from pymodbus.constants import Endian
from pymodbus.payload import BinaryPayloadDecoder
from pymodbus.pdu import ExceptionResponse

host, port, unit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = ModbusTcpClient(host, port=port, timeout=10)
if not client.connect():
    sys.exit("no connection")


def read(at, n):
    """Returns n registers, in as many requests as it takes; None where there are none."""
    words = []
    while len(words) < n:
        answer = client.read_holding_registers(at + len(words), min(125, n - len(words)), slave=unit)
        if isinstance(answer, ExceptionResponse) and answer.exception_code == 2:
            return None
        if answer.isError():
            sys.exit(f"registers from {at}: {answer}")
        words += answer.registers
    return words


# Where each point lies, and how pymodbus decodes it.
POINTS = {
    1: {"Mn": (2, "string"), "Md": (18, "string"), "SN": (50, "string")},
    103: {"W": (14, "int16"), "W_SF": (15, "int16"), "Hz": (16, "uint16"), "WH": (24, "uint32"), "WH_SF": (26, "int16"), "St": (38, "uint16")},
    120: {"DERTyp": (2, "uint16"), "WRtg": (3, "uint16"), "WRtg_SF": (4, "int16")},
    203: {"W": (18, "int16"), "W_SF": (22, "int16"), "TotWhExp": (38, "uint32"), "TotWhImp": (46, "uint32"), "TotWh_SF": (54, "int16")},
    701: {"W": (10, "int16"), "W_SF": (116, "int16"), "TotWhInj": (19, "uint64"), "TotWh_SF": (120, "int16"), "InvSt": (4, "uint16")},
}


def value(words, at, kind):
    decoder = BinaryPayloadDecoder.fromRegisters(words[at:at + 16], byteorder=Endian.Big, wordorder=Endian.Big)
    if kind == "string":
        return decoder.decode_string(32).decode("latin1").rstrip("\0")
    return {
        "int16": decoder.decode_16bit_int,
        "uint16": decoder.decode_16bit_uint,
        "uint32": decoder.decode_32bit_uint,
        "uint64": decoder.decode_64bit_uint,
    }[kind]()


out = {"base": -1, "models": []}
for base in (40000, 0, 50000):
    if read(base, 2) == [0x5375, 0x6E53]:
        out["base"] = base
        break
at = out["base"] + 2
while True:
    model, length = read(at, 2)
    if model == 0xFFFF:
        break
    words = read(at, length + 2)
    values = {name: value(words, where, kind) for name, (where, kind) in POINTS[model].items()}
    out["models"].append({"id": model, "length": length, "words": words, "values": values})
    at += 2 + length
print(json.dumps(out))
client.close()
