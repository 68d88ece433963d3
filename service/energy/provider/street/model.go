package street

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The SunSpec models that the street's hardware has: the points in their order, each with its type, after the SunSpec Alliance's
// model definitions (github.com/sunspec/models). ID and length stand before them and are not listed.
const (
	layoutCommon = "Mn:s16 Md:s16 Opt:s8 Vr:s8 SN:s16 DA:u16 Pad:pad"

	layoutInverter = "A:u16 AphA:u16 AphB:u16 AphC:u16 A_SF:sf PPVphAB:u16 PPVphBC:u16 PPVphCA:u16 PhVphA:u16 PhVphB:u16 PhVphC:u16 V_SF:sf " +
		"W:i16 W_SF:sf Hz:u16 Hz_SF:sf VA:i16 VA_SF:sf VAr:i16 VAr_SF:sf PF:i16 PF_SF:sf WH:acc32 WH_SF:sf DCA:u16 DCA_SF:sf DCV:u16 DCV_SF:sf " +
		"DCW:i16 DCW_SF:sf TmpCab:i16 TmpSnk:i16 TmpTrns:i16 TmpOt:i16 Tmp_SF:sf St:e16 StVnd:e16 Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 " +
		"EvtVnd3:b32 EvtVnd4:b32"

	layoutNameplate = "DERTyp:e16 WRtg:u16 WRtg_SF:sf VARtg:u16 VARtg_SF:sf VArRtgQ1:i16 VArRtgQ2:i16 VArRtgQ3:i16 VArRtgQ4:i16 VArRtg_SF:sf " +
		"ARtg:u16 ARtg_SF:sf PFRtgQ1:i16 PFRtgQ2:i16 PFRtgQ3:i16 PFRtgQ4:i16 PFRtg_SF:sf WHRtg:u16 WHRtg_SF:sf AhrRtg:u16 AhrRtg_SF:sf " +
		"MaxChaRte:u16 MaxChaRte_SF:sf MaxDisChaRte:u16 MaxDisChaRte_SF:sf Pad:pad"

	layoutMeter = "A:i16 AphA:i16 AphB:i16 AphC:i16 A_SF:sf PhV:i16 PhVphA:i16 PhVphB:i16 PhVphC:i16 PPV:i16 PhVphAB:i16 PhVphBC:i16 PhVphCA:i16 V_SF:sf " +
		"Hz:i16 Hz_SF:sf W:i16 WphA:i16 WphB:i16 WphC:i16 W_SF:sf VA:i16 VAphA:i16 VAphB:i16 VAphC:i16 VA_SF:sf VAR:i16 VARphA:i16 VARphB:i16 " +
		"VARphC:i16 VAR_SF:sf PF:i16 PFphA:i16 PFphB:i16 PFphC:i16 PF_SF:sf TotWhExp:acc32 TotWhExpPhA:acc32 TotWhExpPhB:acc32 TotWhExpPhC:acc32 " +
		"TotWhImp:acc32 TotWhImpPhA:acc32 TotWhImpPhB:acc32 TotWhImpPhC:acc32 TotWh_SF:sf TotVAhExp:acc32 TotVAhExpPhA:acc32 TotVAhExpPhB:acc32 " +
		"TotVAhExpPhC:acc32 TotVAhImp:acc32 TotVAhImpPhA:acc32 TotVAhImpPhB:acc32 TotVAhImpPhC:acc32 TotVAh_SF:sf TotVArhImpQ1:acc32 " +
		"TotVArhImpQ1PhA:acc32 TotVArhImpQ1PhB:acc32 TotVArhImpQ1PhC:acc32 TotVArhImpQ2:acc32 TotVArhImpQ2PhA:acc32 TotVArhImpQ2PhB:acc32 " +
		"TotVArhImpQ2PhC:acc32 TotVArhExpQ3:acc32 TotVArhExpQ3PhA:acc32 TotVArhExpQ3PhB:acc32 TotVArhExpQ3PhC:acc32 TotVArhExpQ4:acc32 " +
		"TotVArhExpQ4PhA:acc32 TotVArhExpQ4PhB:acc32 TotVArhExpQ4PhC:acc32 TotVArh_SF:sf Evt:b32"

	layoutDER = "ACType:e16 St:e16 InvSt:e16 ConnSt:e16 Alrm:b32 DERMode:b32 W:i16 VA:i16 Var:i16 PF:u16 A:i16 LLV:u16 LNV:u16 Hz:u32 TotWhInj:u64 " +
		"TotWhAbs:u64 TotVarhInj:u64 TotVarhAbs:u64 TmpAmb:i16 TmpCab:i16 TmpSnk:i16 TmpTrns:i16 TmpSw:i16 TmpOt:i16 " +
		"WL1:i16 VAL1:i16 VarL1:i16 PFL1:i16 AL1:i16 VL1L2:u16 VL1:u16 TotWhInjL1:u64 TotWhAbsL1:u64 TotVarhInjL1:u64 TotVarhAbsL1:u64 " +
		"WL2:i16 VAL2:i16 VarL2:i16 PFL2:i16 AL2:i16 VL2L3:u16 VL2:u16 TotWhInjL2:u64 TotWhAbsL2:u64 TotVarhInjL2:u64 TotVarhAbsL2:u64 " +
		"WL3:i16 VAL3:i16 VarL3:i16 PFL3:i16 AL3:i16 VL3L1:u16 VL3:u16 TotWhInjL3:u64 TotWhAbsL3:u64 TotVarhInjL3:u64 TotVarhAbsL3:u64 " +
		"ThrotPct:u16 ThrotSrc:b32 A_SF:sf V_SF:sf Hz_SF:sf W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf TotWh_SF:sf TotVarh_SF:sf Tmp_SF:sf MnAlrmInfo:s32"
)

// point is where a point of a model lies.
type point struct {
	at   int // registers from the ID word
	size int // registers
	kind string
}

// model is a SunSpec model: its number, and where its points are.
type model struct {
	id     uint16
	length int // registers behind ID and length
	points map[string]point
}

var (
	common    = parse(1, layoutCommon)
	inverter  = parse(103, layoutInverter)
	nameplate = parse(120, layoutNameplate)
	meter     = parse(203, layoutMeter)
	der       = parse(701, layoutDER)
)

// parse reads a layout. The layouts are constants: what is wrong with one is found when the package is.
func parse(id uint16, layout string) *model {
	m := &model{id: id, points: map[string]point{}}
	for field := range strings.FieldsSeq(layout) {
		name, kind, _ := strings.Cut(field, ":")
		p := point{at: m.length + 2, size: 1, kind: kind}
		switch kind {
		case "u32", "b32", "acc32":
			p.size = 2
		case "u64":
			p.size = 4
		case "u16", "i16", "e16", "sf", "pad":
		default:
			if _, err := fmt.Sscanf(kind, "s%d", &p.size); err != nil {
				panic("street: " + field)
			}
		}
		m.points[name] = p
		m.length += p.size
	}
	return m
}

// block is a model's registers, as they are put on the wire.
type block struct {
	*model
	words []uint16
}

// block returns the model with nothing implemented: each point has the value that says so.
func (m *model) block() block {
	b := block{m, make([]uint16, m.length+2)}
	b.words[0], b.words[1] = m.id, uint16(m.length)
	for name := range m.points {
		b.void(name)
	}
	return b
}

// void says that a point is not implemented (SunSpec Device Information Model Specification, 4.2: data types).
func (b block) void(name string) {
	p := b.find(name)
	fill := uint16(0)
	switch p.kind {
	case "u16", "e16", "u32", "b32", "u64":
		fill = 0xffff
	case "i16", "sf", "pad":
		fill = 0x8000
	} // acc32 and strings: 0
	for i := range p.size {
		b.words[p.at+i] = fill
	}
}

// set sets a point to a number, negative ones in two's complement.
func (b block) set(name string, v int64) {
	p := b.find(name)
	for i := range p.size {
		b.words[p.at+i] = uint16(v >> (16 * (p.size - 1 - i)))
	}
}

// text sets a point to a string, filled up with zeros.
func (b block) text(name, s string) {
	p := b.find(name)
	raw := make([]byte, 2*p.size)
	copy(raw, s)
	for i := range p.size {
		b.words[p.at+i] = binary.BigEndian.Uint16(raw[2*i:])
	}
}

func (b block) find(name string) point {
	p, ok := b.points[name]
	if !ok {
		panic(fmt.Sprintf("street: model %d has no %s", b.id, name))
	}
	return p
}
